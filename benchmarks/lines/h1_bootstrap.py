"""Studentised bootstrap intervals of every loss against the baseline, organ by organ."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.machine import operations_per_second

PATIENTS, LOSSES, ORGANS, RESAMPLES = 20, 7, 4, 9_999
ALIKE = 0.06  # of the interval's width: two sets of 9 999 resamples

LINE = Line(
    f"studentised bootstrap: {RESAMPLES} resamples of {PATIENTS} patients, {LOSSES} losses × {ORGANS} organs",
    "scipy.stats.bootstrap of the same t value, vectorised, in a loop over losses and organs",
    wanted=20.0,
    repeats=15,
    shortfall=(
        "Drawing patients takes a third of the time, their t values two fifths, the ends a quarter. It would take two "
        "threads, for work that is over before a second one is awake."
    ),
)


def differences():
    """Skewed, a little unlike each other."""
    import numpy as np

    rng = np.random.default_rng(3)
    return rng.gamma(2.0, 0.01, (PATIENTS, LOSSES, ORGANS)) - rng.uniform(0, 0.03, (LOSSES, ORGANS))


def ours() -> Work:
    from steelyard.stats.studentised import studentised_interval

    seen = differences()
    return lambda: studentised_interval(seen, seed=1, resamples=RESAMPLES)


def peer() -> Work:
    seen = differences()
    return lambda: their_intervals(seen)


def their_intervals(seen):
    """scipy has no studentised method of its own: the distribution of t comes from it, the interval from that."""
    import numpy as np
    from scipy.stats import bootstrap

    ends = np.empty((2, LOSSES, ORGANS))
    for loss in range(LOSSES):
        for organ in range(ORGANS):
            one = seen[:, loss, organ]
            mean, error = one.mean(), one.std(ddof=1) / np.sqrt(PATIENTS)

            def t_value(sample, axis=-1, mean=mean):
                spread = sample.std(axis=axis, ddof=1) / np.sqrt(sample.shape[axis])
                return (sample.mean(axis=axis) - mean) / spread

            found = bootstrap(
                (one,),
                t_value,
                n_resamples=RESAMPLES,
                method="percentile",
                vectorized=True,
                rng=np.random.default_rng(1),
            )
            low, high = np.quantile(found.bootstrap_distribution, (0.025, 0.975))
            ends[:, loss, organ] = mean - high * error, mean - low * error
    return ends


def same() -> None:
    """Exactly: means and variances of our own resamples in two passes. And scipy's, but for its other draws."""
    import numpy as np

    from steelyard.stats.studentised import draw_patients, studentised_interval

    seen = differences()
    own = np.array(studentised_interval(seen, seed=1, resamples=RESAMPLES))
    draws = draw_patients(PATIENTS, size=PATIENTS, resamples=RESAMPLES, seed=1)
    for loss, organ in np.ndindex(LOSSES, ORGANS):
        one = seen[:, loss, organ]
        mean, error = one.mean(), one.std(ddof=1) / np.sqrt(PATIENTS)
        means = (draws * one[:, None]).sum(axis=0) / PATIENTS
        variances = (draws * np.square(one[:, None] - means)).sum(axis=0) / (PATIENTS - 1)
        t = (means - mean) / np.sqrt(variances / PATIENTS)
        t.sort()
        by_hand = mean - t[[-250, 249]] * error
        if not np.allclose(own[:, loss, organ], by_hand, rtol=1e-9):
            raise AssertionError(f"interval {own[:, loss, organ]}, by hand {by_hand}")
    widths = own[1] - own[0]
    apart = float((np.abs(own - their_intervals(seen)) / widths).max())
    if apart > ALIKE:
        raise AssertionError(f"scipy's intervals end {apart:.3f} of their width from ours")


def limit() -> Limit:
    """The two matrix products; drawing and sorting are on top of it."""
    operations = 2 * 2 * LOSSES * ORGANS * PATIENTS * RESAMPLES
    return Limit(
        operations / operations_per_second("float64"),
        f"{operations / 1e6:.0f} million operations of two matrix products in float64",
    )
