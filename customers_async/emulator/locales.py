"""Names and addresses in the style of fifteen countries and eight alphabets."""

from itertools import product

import attrs

__all__ = ["LOCALES", "Locale"]


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


@attrs.frozen
class Locale:
    """The names of people and companies and the addresses of one country.

    Attributes:
        country: ISO 3166-1 alpha-2 code.
        people: Pairs of given names and the family names that go with them.
        companies: Templates of company names, with ``{}`` for one of ``words``.
        words: Words used in company names.
        streets: Templates of address lines, with ``%d`` for the house number.
        postal_code: Template of a postal code, for its thousands and the rest.
        postal_codes: The numbers that postal codes are drawn from.
        person: Template of a person's name: ``{0}`` given, ``{1}`` family.
        people_names: Every possible name of a person.
        company_names: Every possible name of a company.
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
            _split("Jonas, Žygimantas, Mindaugas, Tomas, Ąžuolas, Lukas, Paulius, Rokas, Šarūnas, Vytautas"),
            _split("Kazlauskas, Šeškevičius, Petrauskas, Žukauskas, Jankauskas, Stankevičius, Urbonas, Čepaitis"),
        ),
        (
            _split("Ona, Živilė, Eglė, Rasa, Jūratė, Ieva, Gabija, Austėja, Ugnė, Danutė"),
            _split("Kazlauskienė, Petrauskaitė, Žukauskienė, Urbonaitė, Čepaitė, Šimkutė, Balčiūnienė, Ražanskė"),
        ),
    ),
    companies=("UAB „{}“", "MB „{}“", "AB „{}“", "VšĮ „{}“"),
    words=_split("Šiaurės vėjas, Gintaro kelias, Ąžuolo medis, Žalia banga, Baltijos prekyba, Vilniaus duona"),
    streets=_split("Gedimino pr. %d, Žirmūnų g. %d, Šv. Jono g. %d, Konstitucijos pr. %d-4, Laisvės al. %d"),
    postal_code="%02d%03d",
    postal_codes=range(1_001, 99_999),
)

_LATVIA = Locale(
    country="LV",
    people=(
        (
            _split("Jānis, Andris, Mārtiņš, Kārlis, Edgars, Ģirts, Ņikita, Juris, Valdis, Uldis"),
            _split("Bērziņš, Kalniņš, Ozols, Liepiņš, Krūmiņš, Šmits, Ķēniņš, Žagars"),
        ),
        (
            _split("Līga, Inese, Ilze, Žanete, Kristīne, Dace, Elīna, Ērika, Zane, Aija"),
            _split("Bērziņa, Kalniņa, Ozola, Liepiņa, Krūmiņa, Ķēniņa, Žagare, Eglīte"),
        ),
    ),
    companies=("SIA “{}”", "AS “{}”", "IK “{}”"),
    words=_split("Baltijas Koks, Daugavas Krasts, Ērgļu Ligzda, Ziemeļu Zvaigzne, Jūras Vārti, Rīgas Dzirnavas"),
    streets=_split("Brīvības iela %d, Čaka iela %d, Krišjāņa Barona iela %d-12, Ķīpsalas iela %d, Maskavas iela %d"),
    postal_code="LV-%d%03d",
    postal_codes=range(1_001, 5_750),
)

_ESTONIA = Locale(
    country="EE",
    people=(
        (
            _split("Jüri, Tõnu, Mart, Andrus, Ants, Rasmus, Kaarel, Märt, Siim, Ülo"),
            _split("Tamm, Saar, Sepp, Mägi, Kask, Kukk, Rebane, Õunapuu, Pärn, Põder"),
        ),
        (
            _split("Kadri, Mari-Liis, Triin, Külli, Ülle, Õie, Liina, Maarja, Pille, Anneli"),
            _split("Tamm, Saar, Sepp, Mägi, Kask, Kukk, Rebane, Õunapuu, Pärn, Põder"),
        ),
    ),
    companies=("OÜ {}", "AS {}", "{} OÜ", "MTÜ {}"),
    words=_split("Põhjatäht, Merevaik, Tõrva Puit, Öökull, Hansa Ehitus, Saaremaa Kivi"),
    streets=_split("Pärnu mnt %d, Viru tn %d, Õismäe tee %d, Ülikooli %d, Narva mnt %d-3"),
    postal_code="%02d%03d",
    postal_codes=range(10_001, 96_999),
)

_POLAND = Locale(
    country="PL",
    people=(
        (
            _split("Łukasz, Paweł, Michał, Stanisław, Grzegorz, Krzysztof, Józef, Wojciech"),
            _split("Kowalski, Wiśniewski, Wójcik, Kamiński, Dąbrowski, Zając, Król, Śliwa"),
        ),
        (
            _split("Małgorzata, Agnieszka, Zofia, Żaneta, Katarzyna, Elżbieta, Bożena, Ewa"),
            _split("Kowalska, Wiśniewska, Wójcik, Kamińska, Dąbrowska, Zając, Król, Nowak-Jędrzejewska"),
        ),
    ),
    companies=("{} Sp. z o.o.", "{} S.A.", "P.H.U. „{}”"),
    words=_split("Żubr, Bałtyk Logistyka, Śląskie Zakłady, Łódzka Przędza, Zielone Wzgórze, Orzeł"),
    streets=_split(
        "ul. Świętokrzyska %d, ul. Długa %d/7, al. Jerozolimskie %d, ul. Piłsudskiego %d, pl. Żelaznej Bramy %d"
    ),
    postal_code="%02d-%03d",
    postal_codes=range(1, 99_440),
)

_GERMANY = Locale(
    country="DE",
    people=(
        (
            _split("Jürgen, Björn, Hans-Peter, Lukas, Götz, Matthias, Jörg, Felix"),
            _split("Müller, Schröder, Weiß, Groß, von der Heide, Köhler, Jäger, Strauß"),
        ),
        (
            _split("Käthe, Anke, Dörte, Anna-Lena, Sabine, Heike, Bärbel, Jana"),
            _split("Müller, Schröder, Weiß, Groß, von der Heide, Köhler, Jäger, Strauß"),
        ),
    ),
    companies=("{} GmbH", "{} AG", "{} GmbH & Co. KG", "{} e.K."),
    words=_split("Bäckerei Süß, Gebrüder Weiß, Küstenfisch, Nordlicht Energie, Müller & Söhne, Übersee-Handel"),
    streets=_split("Hauptstraße %d, Königsallee %d, Große Bleichen %da, Am Mühlenweg %d, Schloßstr. %d"),
    postal_code="%02d%03d",
    postal_codes=range(1_067, 99_998),
)

_UKRAINE = Locale(
    country="UA",
    people=(
        (
            _split("Олександр, Андрій, Сергій, Юрій, Ігор, Микола, Євген, Лук'ян"),
            _split("Шевченко, Коваленко, Ткачук, Бондаренко, Мельник, Григор'єв, Їжакевич, Гончар"),
        ),
        (
            _split("Олена, Наталія, Ірина, Оксана, Юлія, Ганна, Соломія, Любов"),
            _split("Шевченко, Коваленко, Ткачук, Бондаренко, Мельник, Григор'єва, Їжакевич, Гончар"),
        ),
    ),
    companies=("ТОВ «{}»", "ПП «{}»", "АТ «{}»"),
    words=_split("Зоря, Чорноморська хвиля, Київський хліб, Карпати, Золотий ключ, Їжачок"),
    streets=("вул. Хрещатик, %d", "вул. Шевченка, %d", "просп. Перемоги, %d", "вул. Об'їзна, %d"),
    postal_code="%02d%03d",
    postal_codes=range(1_001, 99_999),
)

_BULGARIA = Locale(
    country="BG",
    people=(
        (_split("Георги, Иван, Димитър, Красимир, Петър"), _split("Иванов, Петров, Щерев, Йорданов, Жеков")),
        (_split("Мария, Елена, Йорданка, Цветелина, Ралица"), _split("Иванова, Петрова, Щерева, Йорданова, Жекова")),
    ),
    companies=("„{}“ ЕООД", "„{}“ АД"),
    words=_split("Роза, Черно море, Балкан Транс, Тракия, Златен лъв"),
    streets=_split("бул. Витоша %d, ул. Шипка %d, ул. Цар Асен %d"),
    postal_code="%d%03d",
    postal_codes=range(1_000, 9_999),
)

_GREECE = Locale(
    country="GR",
    people=(
        (
            _split("Γιώργος, Δημήτρης, Νίκος, Ιωάννης, Κωνσταντίνος"),
            _split("Παπαδόπουλος, Οικονόμου, Γεωργίου, Βλάχος, Αγγελόπουλος"),
        ),
        (
            _split("Μαρία, Ελένη, Αικατερίνη, Βασιλική, Σοφία"),
            _split("Παπαδοπούλου, Οικονόμου, Γεωργίου, Βλάχου, Αγγελοπούλου"),
        ),
    ),
    companies=("{} Α.Ε.", "{} Ε.Π.Ε."),
    words=_split("Αιγαίο, Ελληνικά Έλαια, Όλυμπος, Φάρος Ναυτιλία, Ήλιος"),
    streets=_split("Ερμού %d, Λεωφόρος Κηφισίας %d, Οδός Αθηνάς %d"),
    postal_code="%02d%03d",
    postal_codes=range(10_431, 85_999),
)

_GEORGIA = Locale(
    country="GE",
    people=(
        (
            _split("გიორგი, ლევან, დავით, ნინო, თამარ"),
            _split("ბერიძე, კაპანაძე, გელაშვილი, მაისურაძე, ჯავახიშვილი"),
        ),
    ),
    companies=("შპს „{}“",),
    words=_split("მზიური, კავკასია, ივერია"),
    streets=_split("რუსთაველის გამზირი %d, აღმაშენებლის %d"),
    postal_code="%d%03d",
    postal_codes=range(101, 6_400),
)

_ARMENIA = Locale(
    country="AM",
    people=(
        (
            _split("Արամ, Հայկ, Տիգրան, Անահիտ, Նարե"),
            _split("Հակոբյան, Սարգսյան, Պետրոսյան, Գրիգորյան"),
        ),
    ),
    companies=("«{}» ՍՊԸ",),
    words=_split("Արարատ, Սևան, Նաիրի"),
    streets=_split("Աբովյան փող. %d, Մաշտոցի պող. %d"),
    postal_code="%d%03d",
    postal_codes=range(1, 4_300),
)

_ISRAEL = Locale(
    country="IL",
    people=((_split("דוד, יוסף, שרה, רחל, משה"), _split("כהן, לוי, מזרחי, פרץ, ביטון")),),
    companies=("{} בע״מ",),
    words=_split("הים התיכון, כרמל, אור"),
    streets=_split("רחוב הרצל %d, שדרות רוטשילד %d"),
    postal_code="%04d%03d",
    postal_codes=range(100_000, 9_999_999),
)

_JAPAN = Locale(
    country="JP",
    people=((_split("太郎, 花子, 健一, さくら, 翔"), _split("佐藤, 鈴木, 髙橋, 田中, 渡邊")),),
    companies=("株式会社{}", "{}有限会社"),
    words=_split("山本商店, 東海テクノロジー, さくら水産"),
    streets=_split("銀座4丁目%d番, 港区芝公園%d"),
    postal_code="%04d%03d",
    postal_codes=range(100_001, 9_999_999),
    person="{1} {0}",
)

_FINLAND = Locale(
    country="FI",
    people=(
        (
            _split("Väinö, Mikko, Aino, Päivi, Åke"),
            _split("Virtanen, Mäkinen, Hämäläinen, Lindström, Ylä-Outinen"),
        ),
    ),
    companies=("{} Oy", "Oy {} Ab"),
    words=_split("Järvisuomi, Pohjola Sähkö, Åbo Båtvarv"),
    streets=_split("Mannerheimintie %d A 5, Hämeenkatu %d, Itäväylä %d"),
    postal_code="%02d%03d",
    postal_codes=range(100, 99_999),
)

_IRELAND = Locale(
    country="IE",
    people=((_split("Seán, Aoife, Pádraig, Niamh, Conor"), _split("O'Brien, Ní Bhriain, MacCarthy, D'Arcy, Ó Sé")),),
    companies=("{} Ltd", "{} DAC"),
    words=_split("Liffey & Sons, Shamrock Foods, O'Connell Freight"),
    streets=("%d O'Connell Street", "%d St. Stephen's Green", "Unit %d, Docklands"),
    postal_code="D%02d X%03d",
    postal_codes=range(1_101, 24_999),
)

_FRANCE = Locale(
    country="FR",
    people=((_split("François, Zoé, Noël, Anaïs, Jean-Luc"), _split("Lefèvre, L'Hôpital, Château, Muñoz, Garçon")),),
    companies=("{} SARL", "Société {} S.A."),
    words=_split("L'Œuvre, Pâtisserie Élysée, Crédit & Dépôt"),
    streets=_split("%d rue de l'Église, %d bis avenue Foch, %d boulevard Saint-Michel"),
    postal_code="%02d%03d",
    postal_codes=range(1_000, 97_680),
)

LOCALES = (
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
"""The locales, each as often as its share of the customers."""
