import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def _close_figures():
    # the functions open figures as a notebook wants them: kept until they are shown
    yield
    plt.close("all")
