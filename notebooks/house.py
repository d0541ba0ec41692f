"""How the notebooks look: colours that colour-blind people tell apart, figures with a text in their place."""

import base64
import io
from html import escape

import matplotlib.pyplot as plt
from IPython.display import HTML, Markdown, display

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
"""After Okabe and Ito; a marker or a style goes with each, so that nothing depends on colour alone."""
STYLES = ["-", "--", ":", "-."]

plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9})


def show(figure, alt: str) -> None:
    """Shows a figure; ``alt`` says in words what is to be seen in it."""
    # As HTML, since what exports notebooks drops the text of an image.
    png = io.BytesIO()
    figure.savefig(png, dpi=160, bbox_inches="tight")
    plt.close(figure)
    source = base64.b64encode(png.getvalue()).decode()
    width = int(figure.get_figwidth() * 96)
    display(HTML(f'<img alt="{escape(alt)}" width="{width}" src="data:image/png;base64,{source}">'))


def say(text: str) -> None:
    """Shows text with Markdown's marks."""
    display(Markdown(text))


def percent(share: float) -> str:
    """A share in per cent, to two digits."""
    return "0 %" if share == 0 else f"{share * 100:.0f} %" if share >= 0.1 else f"{share * 100:#.2g} %"
