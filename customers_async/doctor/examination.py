"""One finding for each check."""

from customers_async.doctor.facts import DoctorFacts
from customers_async.doctor.finding import Finding
from customers_async.doctor.local_checks import LOCAL_CHECKS
from customers_async.doctor.service_checks import SERVICE_CHECKS

__all__ = ["examine", "exit_code"]


def examine(facts: DoctorFacts) -> list[Finding]:
    """Return one finding for each check, in the order in which a request passes them."""
    return [check(facts) for check in (*LOCAL_CHECKS, *SERVICE_CHECKS)]


def exit_code(findings: list[Finding]) -> int:
    """Return the exit code of the first failure; 0 if there is none."""
    return next((finding.code for finding in findings if finding.status == "failed"), 0)
