#!/usr/bin/python3
"""Makes the two fonts of this folder from Liberation Sans 2.1.5 (Debian: fonts-liberation2, fonttools).

Usage: ./subset.py /usr/share/fonts/truetype/liberation2

Keeps Latin, Greek and Cyrillic letters and common signs, drops hints and layout tables, and renames the family, since the
licence reserves the name Liberation for the unmodified fonts.
"""

import sys
from pathlib import Path

from fontTools import subset, ttLib

RANGES = [
    (0x20, 0x7E), (0xA0, 0x17F), (0x384, 0x3CE), (0x400, 0x45F), (0x490, 0x491), (0x2010, 0x2027), (0x2030, 0x203A),
    (0x20AC, 0x20AC), (0x2122, 0x2122), (0x2190, 0x2193), (0x2206, 0x2206), (0x2211, 0x2212), (0x221A, 0x221A),
    (0x221E, 0x221E), (0x2248, 0x2248), (0x2260, 0x2260), (0x2264, 0x2265),
]

for style in ["Regular", "Bold"]:
    font = ttLib.TTFont(Path(sys.argv[1]) / f"LiberationSans-{style}.ttf", recalcTimestamp=False)
    options = subset.Options(hinting=False, layout_features=[], legacy_kern=True, notdef_outline=True)
    options.drop_tables += ["GPOS", "GSUB", "GDEF", "DSIG", "FFTM"]
    options.name_IDs = [0, 1, 2, 3, 4, 6, 13, 14]
    worker = subset.Subsetter(options)
    worker.populate(unicodes=[code for low, high in RANGES for code in range(low, high + 1)])
    worker.subset(font)
    family = "Evenkeel Sans"
    for number, text in {1: family, 3: f"{family} {style}", 4: f"{family} {style}", 6: f"EvenkeelSans-{style}"}.items():
        for record in [name for name in font["name"].names if name.nameID == number]:
            record.string = text
    font.save(f"EvenkeelSans-{style}.ttf")
