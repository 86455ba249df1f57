"""Pictures for those who brought none."""

from pathlib import Path

from PIL import Image, ImageOps


def make_pictures(folder: Path) -> None:
    """Draw pictures of several sizes, modes and formats into *folder*, which is made if absent."""
    folder.mkdir(exist_ok=True)
    gradient, rings = Image.linear_gradient("L"), Image.radial_gradient("L")
    colours = Image.merge("RGB", (gradient, rings, gradient.rotate(90)))
    Image.effect_mandelbrot((1600, 1200), (-2, -1, 1, 1), 60).save(folder / "mandelbrot.png")
    ImageOps.fit(colours, (3000, 2000)).save(folder / "landscape.jpg", quality=90)
    ImageOps.fit(colours.rotate(90), (900, 1600)).save(folder / "portrait.webp")
    ImageOps.fit(Image.merge("LA", (gradient, rings)), (640, 640)).save(folder / "glass.png")
    ImageOps.fit(rings, (320, 200)).save(folder / "rings.gif")
