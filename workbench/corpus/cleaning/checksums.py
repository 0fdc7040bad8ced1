"""Check digits of payment cards, bank accounts and national numbers. All take the number without separators."""

from __future__ import annotations

from datetime import date

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


# Verhoeff 1969: products in the dihedral group D5, and the permutation applied once more at each place.
def _product(a: int, b: int) -> int:
    """In D5: 0 to 4 are turns, 5 to 9 reflections."""
    if a < 5:
        return (a + b) % 5 if b < 5 else (a + b) % 5 + 5
    return (a - b) % 5 + 5 if b < 5 else (a - b) % 5


_D5 = [[_product(a, b) for b in range(10)] for a in range(10)]
_PERMUTED = [tuple(range(10)), (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)]
for _ in range(6):
    _PERMUTED.append(tuple(_PERMUTED[1][digit] for digit in _PERMUTED[-1]))
# Of the letters and digits at odd places of a codice fiscale (decree of 23 December 1976).
_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
# Length of an IBAN by country: the registry of ISO 13616.
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
    "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24,
    "XK": 20,
}  # fmt: skip


def luhn(digits: str) -> bool:
    """ISO/IEC 7812: every second digit from the right doubled, the sum a multiple of 10."""
    total = sum(int(digit) for digit in digits[-1::-2]) + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return total % 10 == 0


def payment_card(digits: str) -> bool:
    """A card's number by its issuer's prefix, its length and Luhn."""
    size, two, four = len(digits), int(digits[:2]), int(digits[:4])
    known = (
        (digits[0] == "4" and size in (13, 16, 19))
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and size == 16)
        or (two in (34, 37) and size == 15)
        or ((four == 6011 or two == 65 or 644 <= four // 10 <= 649) and size == 16)
        or (3528 <= four <= 3589 and size == 16)
        or ((300 <= four // 10 <= 305 or two in (36, 38)) and size == 14)
        or (two == 62 and 16 <= size <= 19)
    )
    return known and len(set(digits)) > 1 and luhn(digits)


def iban(text: str) -> bool:
    """ISO 13616: the country's length, and ISO 7064 mod 97-10 of the account with country and check behind it."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def us_ssn(digits: str) -> bool:
    """A Social Security number has no check digit: no area 000, 666 or 900-999, no group 00, no serial 0000."""
    known_examples = ("078051120", "219099999", "123456789")
    area = int(digits[:3])
    return (
        0 < area < 900 and area != 666 and digits[3:5] != "00" and digits[5:] != "0000" and digits not in known_examples
    )


def gb_nino(text: str) -> bool:
    """A National Insurance number by its prefixes; it has no check digit."""
    return (
        text[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")
        and text[0] not in "DFIQUV"
        and text[1] not in "DFIOQUV"
    )


def es_dni(text: str) -> bool:
    """Spain: eight digits, or X, Y, Z and seven (foreigners), and a letter by the number modulo 23."""
    number = text[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def it_codice_fiscale(text: str) -> bool:
    """Italy: 16 letters and digits, the last by the sum of the others modulo 26."""
    values = [int(letter) if letter.isdigit() else ord(letter) - ord("A") for letter in text]
    total = sum(_ODD[value] if place % 2 == 0 else value for place, value in enumerate(values[:15]))
    return total % 26 == values[15]


def br_cpf(digits: str) -> bool:
    """Brazil: nine digits and two check digits modulo 11."""
    for size in (9, 10):
        total = sum(int(digit) * (size + 1 - place) for place, digit in enumerate(digits[:size]))
        if total * 10 % 11 % 10 != int(digits[size]):
            return False
    return len(set(digits)) > 1


def cn_resident(text: str) -> bool:
    """China (GB 11643-1999): region, date of birth, order, and a check by ISO 7064 mod 11-2."""
    if not ("11" <= text[:2] <= "82" and _is_date(text[6:10], text[10:12], text[12:14])):
        return False
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(text[:17]))
    return "10X98765432"[total % 11] == text[17]


def in_aadhaar(digits: str) -> bool:
    """India: twelve digits, the first 2 to 9, the last by Verhoeff's scheme."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = _D5[check][_PERMUTED[place % 8][int(digit)]]
    return digits[0] > "1" and check == 0 and len(set(digits)) > 1


def fr_nir(text: str) -> bool:
    """France: sex, year and month of birth, department, commune, order, and 97 minus the number modulo 97."""
    month = int(text[3:5])
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return text[0] in "12" and (1 <= month <= 12 or 20 <= month <= 42) and 97 - int(number) % 97 == int(text[13:])


def kr_resident(digits: str) -> bool:
    """South Korea: date of birth, century and sex, and a check digit modulo 11 (numbers given out until 2020)."""
    century = {"1": "19", "2": "19", "3": "20", "4": "20", "5": "19", "6": "19", "7": "20", "8": "20"}.get(digits[6])
    total = sum(int(digit) * (place % 8 + 2) for place, digit in enumerate(digits[:12]))
    return (
        century is not None
        and _is_date(century + digits[:2], digits[2:4], digits[4:6])
        and (11 - total % 11) % 10 == int(digits[12])
    )


def de_tax(digits: str) -> bool:
    """Germany: eleven digits, the last by ISO 7064 mod 11,10."""
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return digits[0] != "0" and (11 - product) % 10 == int(digits[10])


def pl_pesel(digits: str) -> bool:
    """Poland: ten digits weighted 1, 3, 7, 9, and what makes the sum a multiple of 10."""
    total = sum(int(digit) * (1, 3, 7, 9)[place % 4] for place, digit in enumerate(digits[:10]))
    return (total + int(digits[10])) % 10 == 0 and len(set(digits)) > 1


def nl_bsn(digits: str) -> bool:
    """The Netherlands: nine digits weighted 9 to 2 and -1, a multiple of 11."""
    total = sum(int(digit) * (9 - place) for place, digit in enumerate(digits[:8])) - int(digits[8])
    return total % 11 == 0 and len(set(digits)) > 1


def _is_date(year: str, month: str, day: str) -> bool:
    try:
        return 1900 <= date(int(year), int(month), int(day)).year <= 2099
    except ValueError:
        return False
