"""QR codes, as rows of dark and light that the page draws itself."""

import segno


def qr_rows(text: str) -> list[str]:
    """Return the rows of a QR code of ``text``, '1' for dark and '0' for light, the quiet zone left out."""
    code = segno.make(text, error="m", micro=False)
    return ["".join("1" if module else "0" for module in row) for row in code.matrix]
