import numpy as np
import pytest
import torch

from autorec_cli.network.missing_cells import missing_gradients


@pytest.mark.parametrize("n_rows", [1, 6, 7, 40])  # k + 1 is 10: batches of up to 6 rows take another way
def test_gradients_of_unrated_cells_are_those_of_autograd(n_rows):
    generator = torch.Generator().manual_seed(0)
    codes, weight = (torch.randn(n, 10, generator=generator, dtype=torch.float64) for n in (n_rows, 30))
    codes[:, -1] = 1
    for tensor in (codes, weight):
        tensor.requires_grad_()
    (0.3 * (codes[:, :-1] @ weight[:, :-1].T + weight[:, -1]).square().sum()).backward()
    found = missing_gradients(codes.detach(), weight.detach(), 0.3)
    torch.testing.assert_close(found[0][:, :-1], codes.grad[:, :-1])
    torch.testing.assert_close(found[1], weight.grad)
    of_arrays = missing_gradients(*(tensor.detach().numpy() for tensor in (codes, weight)), 0.3)
    for ours, theirs in zip(of_arrays, found, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)
