"""Bulk export: the whole list as a file, resumable and verified."""

from customers_async.export.diff import Change, Changes, diff_exports
from customers_async.export.export import export_customers
from customers_async.export.manifest import ExportReport, verify_export
from customers_async.export.options import ExportProgress
from customers_async.export.removals import Removal, RemovalStatus

__all__ = [
    "Change",
    "Changes",
    "ExportProgress",
    "ExportReport",
    "Removal",
    "RemovalStatus",
    "diff_exports",
    "export_customers",
    "verify_export",
]
