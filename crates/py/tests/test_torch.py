"""A module of PyTorch's, where that is installed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("via", ["plain", "rep3"])
def test_a_module_gives_what_it_gives_in_the_clear(via: str, digits: tuple[np.ndarray, np.ndarray]) -> None:
    from subrosa.torch import PrivateModule

    torch.manual_seed(1)
    convolution, head = torch.nn.Conv2d(1, 4, 5, stride=2), torch.nn.Linear(576, 10)
    module = torch.nn.Sequential(convolution, torch.nn.ReLU(), torch.nn.Flatten(), head)
    module.train()
    images = torch.from_numpy(digits[0][:10])
    private = PrivateModule(module, torch.zeros(1, 1, 28, 28), via=via, input_range=(0, 1))
    assert module.training, "it is left as it was"
    with torch.no_grad():
        expected = module.eval()(images)
    assert (private(images) - expected).abs().max() < 0.01
