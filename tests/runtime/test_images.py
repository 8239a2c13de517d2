"""Pictures become the same pixels everywhere: every kind of file, turned, converted and fitted, or refused by name."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from onebit.format.graph import Fit, InputSpec
from onebit.runtime.images import (
    MAX_PICTURE_PIXELS,
    PictureError,
    find_pictures,
    fit_pixels,
    read_picture,
    tell_counts,
)

RGB = InputSpec(16, 16, 3, (0.0,) * 3, (1.0,) * 3, "RGB", fit=Fit("crop"))
GRAY = InputSpec(16, 16, 1, (0.0,), (1.0,), "L", fit=Fit("crop"))


def pixels(height=16, width=16, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def of_size(spec, width, height):
    return replace(spec, width=width, height=height)


@pytest.fixture
def saved(tmp_path):
    """Write a picture and return its path."""

    def save(picture, name="x.png", **options):
        picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def png(path, width, height, bits=8, kind=0, rows=b""):
    """A PNG written by hand: ``kind`` 0 gray, 2 RGB, 3 palette, 4 gray with alpha, 6 RGB with alpha."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    parts += [chunk(b"PLTE", bytes(3))] if kind == 3 else []
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])
    )
    return path


def png16(path, samples_HWC):
    """A PNG with samples of 16 bits."""
    height, width, channels = samples_HWC.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples_HWC)
    return png(path, width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows)


class TestFit:
    def test_an_image_of_the_right_size_is_left_alone(self, saved):
        picture = pixels()
        assert np.array_equal(read_picture(saved(picture), RGB), picture)
        assert np.array_equal(read_picture(saved(picture[:, :, 0]), GRAY), picture[:, :, :1])

    @pytest.mark.parametrize(("width", "height"), [(60, 20), (20, 60)])
    def test_crop_keeps_the_middle_and_the_proportions(self, saved, width, height):
        picture = np.zeros((20, 60, 3), np.uint8)
        picture[:, 20:40] = 255
        picture = picture if width == 60 else picture.transpose(1, 0, 2)
        assert (read_picture(saved(picture), of_size(RGB, 20, 20)) == 255).all()
        assert (read_picture(saved(picture), RGB)[1:-1, 1:-1] == 255).all()  # the filter reaches over the edge
        stretched = read_picture(saved(picture), replace(RGB, fit=Fit("stretch")))
        assert stretched.min() == 0
        assert stretched.mean() == pytest.approx(85, abs=2)

    def test_crop_without_scaling_gives_the_very_pixels(self, saved):
        picture = pixels(height=19, width=24)
        assert np.array_equal(read_picture(saved(picture), of_size(RGB, 19, 19)), picture[:, 2:21])

    def test_a_part_of_the_crop(self, saved):
        picture = pixels(height=32, width=32)
        spec = replace(of_size(RGB, 28, 28), fit=Fit("crop", 0.875))  # as Resize(32) and CenterCrop(28)
        assert np.array_equal(read_picture(saved(picture), spec), picture[2:30, 2:30])

    def test_networks_that_are_not_square(self, saved):
        picture = pixels(height=40, width=40)
        read = read_picture(saved(picture), of_size(RGB, 20, 10))
        assert read.shape == (10, 20, 3)
        assert np.array_equal(read, np.asarray(Image.fromarray(picture).resize((20, 10), 2, box=(0, 10, 40, 30))))
        assert read_picture(saved(pixels(1, 300)), of_size(RGB, 20, 10)).shape == (10, 20, 3)

    @pytest.mark.parametrize("fit", [Fit("crop"), Fit("crop", 0.875), Fit("stretch")])
    @pytest.mark.parametrize("spec", [RGB, GRAY])
    def test_images_in_memory_are_fitted_as_files(self, saved, spec, fit):
        picture = pixels(height=21, width=30, channels=spec.channels)
        spec = replace(spec, fit=fit)
        fitted = fit_pixels(picture.reshape(21, 30, -1), spec)
        assert np.array_equal(fitted, read_picture(saved(picture), spec))
        assert fitted.shape == (16, 16, spec.channels)

    def test_large_jpegs_are_decoded_smaller(self, saved):
        picture = np.asarray(Image.fromarray(pixels(8, 12)).resize((1200, 800), 2))
        path = saved(picture, "x.jpg", quality=95)
        want = fit_pixels(picture, RGB).astype(int)
        assert np.abs(read_picture(path, RGB) - want).mean() < 2


class TestColor:
    def test_color_to_gray_and_back(self, saved):
        picture = pixels()
        luma = np.asarray(Image.fromarray(picture).convert("L"))
        assert np.array_equal(read_picture(saved(picture), GRAY)[:, :, 0], luma)
        assert np.array_equal(read_picture(saved(luma), RGB), np.repeat(luma[:, :, None], 3, axis=2))

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_of_16_bits_the_high_byte_counts(self, tmp_path, channels):
        samples = np.random.default_rng(0).integers(0, 1 << 16, (16, 16, channels), dtype=np.uint16)
        spec = RGB if channels > 2 else GRAY
        read = read_picture(png16(tmp_path / "x.png", samples), spec)
        assert np.array_equal(read, (samples >> 8)[:, :, : spec.channels])

    def test_16_bits_in_other_formats(self, saved, tmp_path):
        samples = np.random.default_rng(0).integers(0, 1 << 16, (16, 16), dtype=np.uint16)
        (tmp_path / "x.pgm").write_bytes(b"P5 16 16 65535\n" + samples.astype(">u2").tobytes())
        for path in (saved(samples, "x.tif"), tmp_path / "x.pgm"):
            assert np.array_equal(read_picture(path, GRAY)[:, :, 0], samples >> 8)

    @pytest.mark.parametrize(("mode", "name"), [("LA", "x.png"), ("RGBA", "x.png"), ("RGBA", "x.webp")])
    def test_alpha_is_dropped(self, saved, mode, name):
        picture = Image.fromarray(pixels(channels=len(mode)), mode)
        options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
        spec = RGB if mode == "RGBA" else GRAY
        assert np.array_equal(
            read_picture(saved(picture, name, **options), spec),
            pixels(channels=len(mode))[:, :, :-1][:, :, : spec.channels],
        )

    @pytest.mark.parametrize("transparency", [None, 3, bytes(range(0, 256, 16))])
    def test_palette(self, saved, transparency):
        picture = Image.fromarray(pixels(channels=1) % 16, "P")
        picture.putpalette(pixels(16, 1).tobytes())
        options = {} if transparency is None else {"transparency": transparency}
        want = pixels(16, 1)[:, 0][pixels(channels=1) % 16]
        assert np.array_equal(read_picture(saved(picture, **options), RGB), want)

    def test_transparent_colors_without_alpha(self, saved):
        for picture, color, spec in ((pixels(), (1, 2, 3), RGB), (pixels(channels=1), 7, GRAY)):
            path = saved(picture, transparency=color)
            assert np.array_equal(read_picture(path, spec), picture.reshape(16, 16, -1))
            other = GRAY if spec is RGB else RGB
            assert read_picture(path, other).shape == (16, 16, other.channels)

    def test_black_and_white(self, saved):
        bits = pixels(channels=1) > 127
        assert np.array_equal(read_picture(saved(bits), GRAY)[:, :, 0], 255 * bits)

    def test_cmyk(self, saved):
        picture = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
        assert (read_picture(saved(picture, "x.tif"), RGB) == (0, 255, 255)).all()
        assert np.abs(read_picture(saved(picture, "x.jpg"), RGB).astype(int) - (0, 255, 255)).max() < 5

    @pytest.mark.parametrize("name", ["x.gif", "x.png", "x.webp", "x.tif"])
    def test_the_first_frame_of_several(self, saved, name):
        first, second = (Image.new("RGB", (16, 16), color) for color in ((255, 0, 0), (0, 0, 255)))
        options = {"lossless": True} if name.endswith("webp") else {}
        path = saved(first, name, save_all=True, append_images=[second], **options)
        with Image.open(path) as written:
            assert written.n_frames == 2
        assert (read_picture(path, RGB) == (255, 0, 0)).all()

    @pytest.mark.parametrize("samples", [pixels(channels=1).astype(np.int32), pixels(channels=1).astype(np.float32)])
    def test_32_bits_are_refused(self, saved, samples):
        with pytest.raises(PictureError, match=r"x\.tif': its samples have 32 bits; save it with 8 or 16"):
            read_picture(saved(samples, "x.tif"), GRAY)


TURNS = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
         Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE,
         Image.Transpose.ROTATE_90)  # fmt: skip


class TestOrientation:
    @pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif", "x.webp"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_pictures_are_turned_upright(self, saved, name, orientation):
        stored = Image.fromarray(pixels(21, 30))
        upright = stored if orientation == 1 else stored.transpose(TURNS[orientation - 2])
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"x.jpg": {"quality": 100, "subsampling": 0}, "x.webp": {"lossless": True}}.get(name, {})
        read = read_picture(saved(stored, name, exif=exif, **options), RGB)
        error = np.abs(read.astype(int) - fit_pixels(np.asarray(upright), RGB))
        assert error.max() <= (3 if name == "x.jpg" else 0)

    def test_a_large_turned_jpeg(self, saved):
        """The scale at which it is decoded fits the picture as it is turned."""
        stored = Image.fromarray(pixels(3, 12)).resize((1200, 300), 2)
        exif = Image.Exif()
        exif[0x0112] = 6
        wide = of_size(RGB, 64, 16)
        want = fit_pixels(np.asarray(stored.transpose(Image.Transpose.ROTATE_270)), wide).astype(int)
        assert np.abs(read_picture(saved(stored, "x.jpg", exif=exif, quality=95), wide) - want).mean() < 2

    def test_damaged_metadata_of_a_good_picture(self, saved):
        picture = pixels()
        path = saved(picture, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        assert np.array_equal(read_picture(path, RGB), picture)


class TestRefused:
    def test_another_size_where_the_network_does_not_say(self, saved):
        spec = replace(RGB, fit=None)
        assert read_picture(saved(pixels()), spec).shape == (16, 16, 3)
        message = r"x\.png': the picture has 8x9 pixels, the network takes 16x16: scale it, or choose a fit"
        with pytest.raises(PictureError, match=message):
            read_picture(saved(pixels(9, 8)), spec)

    def test_another_color_where_the_network_does_not_say(self, saved):
        with pytest.raises(
            PictureError, match=r"is in color \(RGB\), the network takes gray ones: convert it, or choose"
        ):
            read_picture(saved(pixels()), replace(GRAY, fit=None))
        with pytest.raises(PictureError, match=r"is gray \(L\), the network takes RGB: convert it, or choose"):
            read_picture(saved(pixels(channels=1)), replace(RGB, fit=None))
        alpha = Image.fromarray(pixels(channels=4), "RGBA")
        assert read_picture(saved(alpha), replace(RGB, fit=None)).shape == (16, 16, 3)

    def test_networks_that_take_no_pictures(self, saved):
        for spec in (replace(RGB, color="other"), replace(RGB, channels=4), replace(GRAY, color="RGB")):
            with pytest.raises(PictureError, match=r"takes \d channel\(s\) of color '\w+'.* as a \.npy array"):
                read_picture(saved(pixels()), spec)

    @pytest.mark.parametrize(("width", "height"), [(8193, 8192), (1 << 26, 2), (1 << 30, 1 << 30)])
    @pytest.mark.parametrize("kind", [0, 2, 3, 6])
    def test_too_many_pixels_are_not_decoded(self, tmp_path, width, height, kind):
        assert MAX_PICTURE_PIXELS == 8192**2
        with pytest.raises(
            PictureError, match=r"x\.png'.* pixels.*(scale it down or remove it|replace it or remove it)"
        ):
            read_picture(png(tmp_path / "x.png", width, height, kind=kind), RGB)

    def test_files_that_are_no_pictures(self, tmp_path, saved):
        (tmp_path / "x.jpg").write_text("a text")
        with pytest.raises(
            PictureError, match=r"x\.jpg' cannot be read as a picture: it is no JPEG, PNG, .*replace it"
        ):
            read_picture(tmp_path / "x.jpg", RGB)
        with pytest.raises(PictureError, match=r"missing\.png': no such file"):
            read_picture(tmp_path / "missing.png", RGB)
        with pytest.raises(PictureError, match="Is a directory"):
            read_picture(tmp_path, RGB)

    @pytest.mark.parametrize("format", ["EPS", "PDF", "ICO", "TGA"])
    def test_formats_that_nobody_asked_for(self, tmp_path, format):
        Image.new("RGB", (16, 16)).save(tmp_path / "x.png", format=format)
        with pytest.raises(PictureError, match=r"x\.png' cannot be read as a picture: it is no JPEG"):
            read_picture(tmp_path / "x.png", RGB)

    def test_the_content_counts_not_the_ending(self, tmp_path):
        Image.new("RGB", (16, 16), (9, 9, 9)).save(tmp_path / "x.jpg", format="PNG")
        assert (read_picture(tmp_path / "x.jpg", RGB) == 9).all()

    @pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.gif", "x.webp", "x.tif", "x.bmp", "x.ppm"])
    def test_truncated_files(self, saved, name):
        path = saved(pixels(64, 64), name)
        content = path.read_bytes()
        for kept in (0, 10, len(content) // 2, len(content) - 40):
            path.write_bytes(content[:kept])
            with pytest.raises(
                PictureError, match=rf"{path.name}' cannot be read as a picture: .*; replace it or remove"
            ):
                read_picture(path, RGB)


class TestFolders:
    def test_pictures_in_subfolders_and_what_is_left_out(self, saved, tmp_path):
        for name in ("b.PNG", "a.jfif", "sub/c.bmp", "sub/deep/d.gif", "e.tif", "f.webp"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(tmp_path / name, format={"jfif": "JPEG"}.get(name[-4:]))
        (tmp_path / ".ipynb_checkpoints").mkdir()
        for name in ("notes.txt", "more.txt", ".ipynb_checkpoints/b.png", "sub/._c.bmp", "README", "x.\x1b[31m"):
            (tmp_path / name).write_bytes(b"x")
        pictures, left_out = find_pictures(tmp_path)
        assert [str(path.relative_to(tmp_path)) for path in pictures] == [
            "a.jfif", "b.PNG", "e.tif", "f.webp", "sub/c.bmp", "sub/deep/d.gif"
        ]  # fmt: skip
        assert left_out == {".txt": 2, "hidden": 2, "other": 2}
        assert tell_counts(left_out) == "2 .txt, 2 hidden, 2 other"

    def test_links_to_folders_are_followed_once(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / "elsewhere" / "a.png")
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root")
        pictures, left_out = find_pictures(tmp_path / "root")
        assert [path.name for path in pictures] == ["a.png"]
        assert not left_out
