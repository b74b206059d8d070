"""Names and addresses as they are written in fifteen countries and eight alphabets."""

from itertools import product

import attrs

__all__ = ["REGIONS", "Locale"]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


@attrs.frozen
class Locale:
    """How people, companies and addresses are called in one country.

    Attributes:
        country: ISO 3166-1 alpha-2 code.
        people: Given names, and the family names that go with them.
        companies: Company names, with ``{}`` where one of the words goes.
        words: Words companies are named for.
        streets: Address lines, with ``%d`` where the house number goes.
        postal_code: Format of a postal code, given its thousands and the rest.
        postal_codes: Numbers that may be postal codes.
        person: Order of the names of a person: ``{0}`` given, ``{1}`` family.
        people_names: Every name a person may have.
        company_names: Every name a company may have.
    """

    country: str
    people: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    companies: tuple[str, ...]
    words: tuple[str, ...]
    streets: tuple[str, ...]
    postal_code: str
    postal_codes: range
    person: str = "{0} {1}"
    people_names: tuple[str, ...] = attrs.field(init=False)
    company_names: tuple[str, ...] = attrs.field(init=False)

    @people_names.default
    def _all_people(self) -> tuple[str, ...]:
        return tuple(
            self.person.format(given, family)
            for given_names, family_names in self.people
            for given, family in product(given_names, family_names)
        )

    @company_names.default
    def _all_companies(self) -> tuple[str, ...]:
        return tuple(company.format(word) for company, word in product(self.companies, self.words))


_LITHUANIA = Locale(
    country="LT",
    people=(
        (
            _listed("Jonas, Žygimantas, Mindaugas, Tomas, Ąžuolas, Lukas, Paulius, Rokas, Šarūnas, Vytautas"),
            _listed("Kazlauskas, Šeškevičius, Petrauskas, Žukauskas, Jankauskas, Stankevičius, Urbonas, Čepaitis"),
        ),
        (
            _listed("Ona, Živilė, Eglė, Rasa, Jūratė, Ieva, Gabija, Austėja, Ugnė, Danutė"),
            _listed("Kazlauskienė, Petrauskaitė, Žukauskienė, Urbonaitė, Čepaitė, Šimkutė, Balčiūnienė, Ražanskė"),
        ),
    ),
    companies=("UAB „{}“", "MB „{}“", "AB „{}“", "VšĮ „{}“"),
    words=_listed("Šiaurės vėjas, Gintaro kelias, Ąžuolo medis, Žalia banga, Baltijos prekyba, Vilniaus duona"),
    streets=_listed("Gedimino pr. %d, Žirmūnų g. %d, Šv. Jono g. %d, Konstitucijos pr. %d-4, Laisvės al. %d"),
    postal_code="%02d%03d",
    postal_codes=range(1_001, 99_999),
)

_LATVIA = Locale(
    country="LV",
    people=(
        (
            _listed("Jānis, Andris, Mārtiņš, Kārlis, Edgars, Ģirts, Ņikita, Juris, Valdis, Uldis"),
            _listed("Bērziņš, Kalniņš, Ozols, Liepiņš, Krūmiņš, Šmits, Ķēniņš, Žagars"),
        ),
        (
            _listed("Līga, Inese, Ilze, Žanete, Kristīne, Dace, Elīna, Ērika, Zane, Aija"),
            _listed("Bērziņa, Kalniņa, Ozola, Liepiņa, Krūmiņa, Ķēniņa, Žagare, Eglīte"),
        ),
    ),
    companies=("SIA “{}”", "AS “{}”", "IK “{}”"),
    words=_listed("Baltijas Koks, Daugavas Krasts, Ērgļu Ligzda, Ziemeļu Zvaigzne, Jūras Vārti, Rīgas Dzirnavas"),
    streets=_listed("Brīvības iela %d, Čaka iela %d, Krišjāņa Barona iela %d-12, Ķīpsalas iela %d, Maskavas iela %d"),
    postal_code="LV-%d%03d",
    postal_codes=range(1_001, 5_750),
)

_ESTONIA = Locale(
    country="EE",
    people=(
        (
            _listed("Jüri, Tõnu, Mart, Andrus, Ants, Rasmus, Kaarel, Märt, Siim, Ülo"),
            _listed("Tamm, Saar, Sepp, Mägi, Kask, Kukk, Rebane, Õunapuu, Pärn, Põder"),
        ),
        (
            _listed("Kadri, Mari-Liis, Triin, Külli, Ülle, Õie, Liina, Maarja, Pille, Anneli"),
            _listed("Tamm, Saar, Sepp, Mägi, Kask, Kukk, Rebane, Õunapuu, Pärn, Põder"),
        ),
    ),
    companies=("OÜ {}", "AS {}", "{} OÜ", "MTÜ {}"),
    words=_listed("Põhjatäht, Merevaik, Tõrva Puit, Öökull, Hansa Ehitus, Saaremaa Kivi"),
    streets=_listed("Pärnu mnt %d, Viru tn %d, Õismäe tee %d, Ülikooli %d, Narva mnt %d-3"),
    postal_code="%02d%03d",
    postal_codes=range(10_001, 96_999),
)

_POLAND = Locale(
    country="PL",
    people=(
        (
            _listed("Łukasz, Paweł, Michał, Stanisław, Grzegorz, Krzysztof, Józef, Wojciech"),
            _listed("Kowalski, Wiśniewski, Wójcik, Kamiński, Dąbrowski, Zając, Król, Śliwa"),
        ),
        (
            _listed("Małgorzata, Agnieszka, Zofia, Żaneta, Katarzyna, Elżbieta, Bożena, Ewa"),
            _listed("Kowalska, Wiśniewska, Wójcik, Kamińska, Dąbrowska, Zając, Król, Nowak-Jędrzejewska"),
        ),
    ),
    companies=("{} Sp. z o.o.", "{} S.A.", "P.H.U. „{}”"),
    words=_listed("Żubr, Bałtyk Logistyka, Śląskie Zakłady, Łódzka Przędza, Zielone Wzgórze, Orzeł"),
    streets=_listed(
        "ul. Świętokrzyska %d, ul. Długa %d/7, al. Jerozolimskie %d, ul. Piłsudskiego %d, pl. Żelaznej Bramy %d"
    ),
    postal_code="%02d-%03d",
    postal_codes=range(1, 99_440),
)

_GERMANY = Locale(
    country="DE",
    people=(
        (
            _listed("Jürgen, Björn, Hans-Peter, Lukas, Götz, Matthias, Jörg, Felix"),
            _listed("Müller, Schröder, Weiß, Groß, von der Heide, Köhler, Jäger, Strauß"),
        ),
        (
            _listed("Käthe, Anke, Dörte, Anna-Lena, Sabine, Heike, Bärbel, Jana"),
            _listed("Müller, Schröder, Weiß, Groß, von der Heide, Köhler, Jäger, Strauß"),
        ),
    ),
    companies=("{} GmbH", "{} AG", "{} GmbH & Co. KG", "{} e.K."),
    words=_listed("Bäckerei Süß, Gebrüder Weiß, Küstenfisch, Nordlicht Energie, Müller & Söhne, Übersee-Handel"),
    streets=_listed("Hauptstraße %d, Königsallee %d, Große Bleichen %da, Am Mühlenweg %d, Schloßstr. %d"),
    postal_code="%02d%03d",
    postal_codes=range(1_067, 99_998),
)

_UKRAINE = Locale(
    country="UA",
    people=(
        (
            _listed("Олександр, Андрій, Сергій, Юрій, Ігор, Микола, Євген, Лук'ян"),
            _listed("Шевченко, Коваленко, Ткачук, Бондаренко, Мельник, Григор'єв, Їжакевич, Гончар"),
        ),
        (
            _listed("Олена, Наталія, Ірина, Оксана, Юлія, Ганна, Соломія, Любов"),
            _listed("Шевченко, Коваленко, Ткачук, Бондаренко, Мельник, Григор'єва, Їжакевич, Гончар"),
        ),
    ),
    companies=("ТОВ «{}»", "ПП «{}»", "АТ «{}»"),
    words=_listed("Зоря, Чорноморська хвиля, Київський хліб, Карпати, Золотий ключ, Їжачок"),
    streets=("вул. Хрещатик, %d", "вул. Шевченка, %d", "просп. Перемоги, %d", "вул. Об'їзна, %d"),
    postal_code="%02d%03d",
    postal_codes=range(1_001, 99_999),
)

_BULGARIA = Locale(
    country="BG",
    people=(
        (_listed("Георги, Иван, Димитър, Красимир, Петър"), _listed("Иванов, Петров, Щерев, Йорданов, Жеков")),
        (_listed("Мария, Елена, Йорданка, Цветелина, Ралица"), _listed("Иванова, Петрова, Щерева, Йорданова, Жекова")),
    ),
    companies=("„{}“ ЕООД", "„{}“ АД"),
    words=_listed("Роза, Черно море, Балкан Транс, Тракия, Златен лъв"),
    streets=_listed("бул. Витоша %d, ул. Шипка %d, ул. Цар Асен %d"),
    postal_code="%d%03d",
    postal_codes=range(1_000, 9_999),
)

_GREECE = Locale(
    country="GR",
    people=(
        (
            _listed("Γιώργος, Δημήτρης, Νίκος, Ιωάννης, Κωνσταντίνος"),
            _listed("Παπαδόπουλος, Οικονόμου, Γεωργίου, Βλάχος, Αγγελόπουλος"),
        ),
        (
            _listed("Μαρία, Ελένη, Αικατερίνη, Βασιλική, Σοφία"),
            _listed("Παπαδοπούλου, Οικονόμου, Γεωργίου, Βλάχου, Αγγελοπούλου"),
        ),
    ),
    companies=("{} Α.Ε.", "{} Ε.Π.Ε."),
    words=_listed("Αιγαίο, Ελληνικά Έλαια, Όλυμπος, Φάρος Ναυτιλία, Ήλιος"),
    streets=_listed("Ερμού %d, Λεωφόρος Κηφισίας %d, Οδός Αθηνάς %d"),
    postal_code="%02d%03d",
    postal_codes=range(10_431, 85_999),
)

_GEORGIA = Locale(
    country="GE",
    people=(
        (
            _listed("გიორგი, ლევან, დავით, ნინო, თამარ"),
            _listed("ბერიძე, კაპანაძე, გელაშვილი, მაისურაძე, ჯავახიშვილი"),
        ),
    ),
    companies=("შპს „{}“",),
    words=_listed("მზიური, კავკასია, ივერია"),
    streets=_listed("რუსთაველის გამზირი %d, აღმაშენებლის %d"),
    postal_code="%d%03d",
    postal_codes=range(101, 6_400),
)

_ARMENIA = Locale(
    country="AM",
    people=(
        (
            _listed("Արամ, Հայկ, Տիգրան, Անահիտ, Նարե"),
            _listed("Հակոբյան, Սարգսյան, Պետրոսյան, Գրիգորյան"),
        ),
    ),
    companies=("«{}» ՍՊԸ",),
    words=_listed("Արարատ, Սևան, Նաիրի"),
    streets=_listed("Աբովյան փող. %d, Մաշտոցի պող. %d"),
    postal_code="%d%03d",
    postal_codes=range(1, 4_300),
)

_ISRAEL = Locale(
    country="IL",
    people=((_listed("דוד, יוסף, שרה, רחל, משה"), _listed("כהן, לוי, מזרחי, פרץ, ביטון")),),
    companies=("{} בע״מ",),
    words=_listed("הים התיכון, כרמל, אור"),
    streets=_listed("רחוב הרצל %d, שדרות רוטשילד %d"),
    postal_code="%04d%03d",
    postal_codes=range(100_000, 9_999_999),
)

_JAPAN = Locale(
    country="JP",
    people=((_listed("太郎, 花子, 健一, さくら, 翔"), _listed("佐藤, 鈴木, 髙橋, 田中, 渡邊")),),
    companies=("株式会社{}", "{}有限会社"),
    words=_listed("山本商店, 東海テクノロジー, さくら水産"),
    streets=_listed("銀座4丁目%d番, 港区芝公園%d"),
    postal_code="%04d%03d",
    postal_codes=range(100_001, 9_999_999),
    person="{1} {0}",
)

_FINLAND = Locale(
    country="FI",
    people=(
        (
            _listed("Väinö, Mikko, Aino, Päivi, Åke"),
            _listed("Virtanen, Mäkinen, Hämäläinen, Lindström, Ylä-Outinen"),
        ),
    ),
    companies=("{} Oy", "Oy {} Ab"),
    words=_listed("Järvisuomi, Pohjola Sähkö, Åbo Båtvarv"),
    streets=_listed("Mannerheimintie %d A 5, Hämeenkatu %d, Itäväylä %d"),
    postal_code="%02d%03d",
    postal_codes=range(100, 99_999),
)

_IRELAND = Locale(
    country="IE",
    people=((_listed("Seán, Aoife, Pádraig, Niamh, Conor"), _listed("O'Brien, Ní Bhriain, MacCarthy, D'Arcy, Ó Sé")),),
    companies=("{} Ltd", "{} DAC"),
    words=_listed("Liffey & Sons, Shamrock Foods, O'Connell Freight"),
    streets=("%d O'Connell Street", "%d St. Stephen's Green", "Unit %d, Docklands"),
    postal_code="D%02d X%03d",
    postal_codes=range(1_101, 24_999),
)

_FRANCE = Locale(
    country="FR",
    people=((_listed("François, Zoé, Noël, Anaïs, Jean-Luc"), _listed("Lefèvre, L'Hôpital, Château, Muñoz, Garçon")),),
    companies=("{} SARL", "Société {} S.A."),
    words=_listed("L'Œuvre, Pâtisserie Élysée, Crédit & Dépôt"),
    streets=_listed("%d rue de l'Église, %d bis avenue Foch, %d boulevard Saint-Michel"),
    postal_code="%02d%03d",
    postal_codes=range(1_000, 97_680),
)

REGIONS = (
    *(_LITHUANIA,) * 8,
    *(_LATVIA,) * 5,
    *(_ESTONIA,) * 5,
    *(_POLAND,) * 4,
    *(_GERMANY,) * 3,
    *(_UKRAINE,) * 2,
    _BULGARIA,
    _GREECE,
    _GEORGIA,
    _ARMENIA,
    _ISRAEL,
    _JAPAN,
    _FINLAND,
    _IRELAND,
    _FRANCE,
)
"""The regions, each as often as its share of the customers wants."""
