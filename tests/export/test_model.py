"""The model against the authors' code (recorded outputs) and against what its parts promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from export.checkpoint import load_checkpoint
from export.files import bundled_checkpoint
from export.model import Architecture, DiffLL
from export.model.diffll import schedule
from export.model.unet import timestep_embedding
from export.model.wavelet import dwt, idwt
from runtime.image import to_tensor
from runtime.package.sampling import timesteps
from runtime.sampler import evenly_spaced, make_table

OFFICIAL = Path(__file__).parent.parent / "data" / "official.npz"


@pytest.fixture(scope="module")
def official():
    with np.load(OFFICIAL) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def bundled() -> DiffLL:
    return load_checkpoint(bundled_checkpoint()).model()


def test_whole_network_equals_the_official_code(bundled, official):
    image = torch.from_numpy(to_tensor(official["photo"].numpy()[None], 32))
    found = bundled(image, official["noise"][None])[0, :, :24, :40]
    assert (found - official["image"]).abs().max() < 1e-5
    # a wrong checkpoint or a lost stage would be far away
    assert (image[0, :, :24, :40] - official["image"]).abs().max() > 0.1


def test_unet_equals_the_official_code(bundled, official):
    eps = bundled.Unet(official["unet_x"], torch.tensor([140]))
    assert (eps - official["unet_eps"]).abs().max() < 1e-4 * official["unet_eps"].abs().max()


def test_hfrm_equals_the_official_code(bundled, official):
    found = bundled.hfrms[0](official["details"].reshape(1, 9, 12, 20)).reshape(3, 3, 12, 20)
    assert (found - official["restored"]).abs().max() < 1e-4


def test_official_state_dict_names(bundled):
    names = set(bundled.state_dict())
    assert len(names) == 460
    assert {
        "Unet.temb.dense.1.bias",
        "Unet.down.0.block.0.conv1.weight",
        "Unet.down.1.block.0.nin_shortcut.weight",
        "Unet.down.2.attn.1.proj_out.weight",
        "Unet.down.2.downsample.conv.weight",
        "Unet.mid.attn_1.q.weight",
        "Unet.up.3.block.2.temb_proj.weight",
        "Unet.up.1.upsample.conv.weight",
        "Unet.norm_out.weight",
        "high_enhance0.dilated_block_LH.model.0.weight",
        "high_enhance1.dilated_block_HH.model.8.bias",
        "high_enhance0.cross_attention0.query.depth_conv.weight",
        "high_enhance1.conv_HH.weight",
        "high_enhance0.conv_tail.point_conv.bias",
    } <= names


def test_full_size_network_has_the_official_size():
    with torch.device("meta"):
        model = DiffLL(Architecture())
    assert sum(p.numel() for p in model.Unet.parameters()) == pytest.approx(20.76e6, rel=1e-3)
    assert sum(p.numel() for p in model.hfrms[0].parameters()) == pytest.approx(0.658e6, rel=1e-3)
    assert model.arch.pad_multiple == 32


def test_wavelet_bands_and_inverse():
    image = torch.randn(2, 3, 8, 12)
    ll, details = dwt(image)
    x1, x2, x3, x4 = (image[:, :, r::2, c::2] / 2 for r, c in ((0, 0), (1, 0), (0, 1), (1, 1)))
    torch.testing.assert_close(ll, x1 + x2 + x3 + x4)
    hl, lh, hh = details.split(3, dim=1)
    torch.testing.assert_close(hl, x3 + x4 - x1 - x2)
    torch.testing.assert_close(lh, x2 + x4 - x1 - x3)
    torch.testing.assert_close(hh, x1 + x4 - x2 - x3)
    torch.testing.assert_close(idwt(ll, details), image)
    # orthonormal: energy is kept, a flat picture has no details
    assert (ll.square().sum() + details.square().sum()).item() == pytest.approx(image.square().sum().item(), rel=1e-5)
    assert dwt(torch.ones(1, 3, 4, 4))[1].abs().max() == 0


def test_schedule_is_the_published_one():
    betas, alphas_cumprod = schedule()
    assert len(betas) == 200
    assert betas[0].item() == pytest.approx(1e-4)
    assert betas[-1].item() == pytest.approx(0.02)
    assert alphas_cumprod[-1].item() == pytest.approx(float(np.prod(1 - np.linspace(1e-4, 0.02, 200))), rel=1e-5)


def test_timestep_embedding_is_sines_then_cosines():
    found = timestep_embedding(torch.tensor([0, 7]), 32)
    assert found.shape == (2, 32)
    assert found[0].tolist() == [0.0] * 16 + [1.0] * 16
    assert found[1, 0].item() == pytest.approx(np.sin(7))
    assert found[1, 15].item() == pytest.approx(np.sin(7 / 10000), abs=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 10, 200])
def test_coefficient_table_equals_the_step_by_step_formula(steps):
    """The reference's loop and the runtime's table are two derivations of one sampler."""
    model = DiffLL(Architecture(ch=32, ch_mult=(1,), num_res_blocks=1, attention_levels=(), hfrm_channels=8))
    predict = torch.nn.Module()
    predict.forward = lambda x, t: torch.sin(3 * x[:, 3:]) * (1 + t[0] / 200)
    model.Unet = predict
    noise = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    expected = model.sample(torch.zeros_like(noise), noise, timesteps(200, steps))
    table = make_table(schedule()[1].numpy(), evenly_spaced(schedule()[1].numpy(), steps))
    x = noise
    for t, (c0, c1, *_) in zip(table.timesteps.tolist(), table.coefficients.tolist(), strict=True):
        x = c0 * x + c1 * torch.sin(3 * x) * (1 + t / 200)
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)
