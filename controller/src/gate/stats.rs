//! Whether two samples differ: the Mann-Whitney U test and Cliff's delta. Pure.
//!
//! For small samples without ties the distribution of U is counted out; otherwise it is the normal approximation with
//! correction for ties and continuity. Checked against Mann and Whitney (1947), table I; the example of Hollander and
//! Wolfe (1973), page 69, as R gives it; and the example of SciPy's documentation.

/// The product of both sizes up to which the distribution is counted out.
const EXACT_PAIRS: usize = 400;

/// How a sample lies to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// Pairs in which the first is larger; half of those that are alike.
    pub u: f64,
    /// Two-sided: how often chance alone sets them as far apart.
    pub p: f64,
    /// Cliff's delta: -1 (all of the first are lower) to 1 (all are higher); 0 when neither.
    pub delta: f64,
}

/// Compares two samples of finite numbers; `None` when one is empty.
pub fn compare(first: &[f64], second: &[f64]) -> Option<Compared> {
    let (n, m) = (first.len(), second.len());
    if n == 0 || m == 0 {
        return None;
    }
    let (ranks, ties) = rank_sum(first, second);
    let u = ranks - (n * (n + 1)) as f64 / 2.0;
    let pairs = (n * m) as f64;
    let p = if ties == 0.0 && n * m <= EXACT_PAIRS { exact(n, m, u) } else { normal(n, m, u, ties) };
    Some(Compared { u, p, delta: 2.0 * u / pairs - 1.0 })
}

/// The smallest `p` that samples of these sizes can come to, however far apart they lie; neither size is 0.
pub fn least(first: usize, second: usize) -> f64 {
    match first * second <= EXACT_PAIRS {
        true => exact(first, second, 0.0),
        false => normal(first, second, 0.0, 0.0),
    }
}

/// The sum of the first sample's ranks among all (means for ties), and the sum of t³ - t over groups of ties.
fn rank_sum(first: &[f64], second: &[f64]) -> (f64, f64) {
    let mut all: Vec<(f64, bool)> = first.iter().map(|value| (*value, true)).collect();
    all.extend(second.iter().map(|value| (*value, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut ties, mut at) = (0.0, 0.0, 0);
    while at < all.len() {
        let alike = all[at..].iter().take_while(|(value, _)| *value == all[at].0).count();
        let rank = (at + 1) as f64 + (alike - 1) as f64 / 2.0;
        sum += rank * all[at..at + alike].iter().filter(|(_, first)| *first).count() as f64;
        ties += (alike * alike * alike - alike) as f64;
        at += alike;
    }
    (sum, ties)
}

/// Of all ways to deal the ranks, the share in which U is as far from its middle, both sides together.
fn exact(n: usize, m: usize, u: f64) -> f64 {
    let ways = partitions(n, m);
    let total: f64 = ways.iter().sum();
    let low = u.min((n * m) as f64 - u) as usize; // whole, without ties
    let tail: f64 = ways[..=low].iter().sum();
    (2.0 * tail / total).min(1.0)
}

/// How many ways to deal give each U from 0 to n * m: the partitions of U into at most `n` parts, none larger than `m`.
fn partitions(n: usize, m: usize) -> Vec<f64> {
    let most = n * m;
    // fits[k][u]: partitions of u into k parts, of the sizes seen so far.
    let mut fits = vec![vec![0.0; most + 1]; n + 1];
    fits[0][0] = 1.0;
    for size in 1..=m {
        for k in 1..=n {
            let (fewer, rest) = fits.split_at_mut(k);
            for u in size..=most {
                rest[0][u] += fewer[k - 1][u - size];
            }
        }
    }
    (0..=most).map(|u| fits.iter().map(|row| row[u]).sum()).collect()
}

fn normal(n: usize, m: usize, u: f64, ties: f64) -> f64 {
    let (n, m) = (n as f64, m as f64);
    let all = n + m;
    let variance = n * m / 12.0 * ((all + 1.0) - ties / (all * (all - 1.0)).max(1.0));
    if variance <= 0.0 {
        return 1.0; // all alike
    }
    let far = ((u - n * m / 2.0).abs() - 0.5).max(0.0);
    erfc(far / variance.sqrt() / std::f64::consts::SQRT_2).min(1.0)
}

/// The complementary error function for x >= 0: Abramowitz and Stegun's 7.1.6 (a series) near 0, 7.1.14 (a continued
/// fraction, by Lentz) further out.
fn erfc(x: f64) -> f64 {
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for k in 1..200 {
            term *= 2.0 * x * x / (2.0 * k as f64 + 1.0);
            sum += term;
            if term < sum * 1e-17 {
                break;
            }
        }
        return 1.0 - 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum;
    }
    // From the inside out: sixty levels are exact to the last digits for x >= 2.
    let mut fraction = 0.0;
    for k in (1..=60).rev() {
        fraction = k as f64 / 2.0 / (x + fraction);
    }
    (-x * x).exp() / std::f64::consts::PI.sqrt() / (x + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, published: f64, digits: f64) {
        assert!((value - published).abs() < digits, "{value} is not {published}");
    }

    /// Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than the other",
    /// Annals of Mathematical Statistics 18 (1947), table I: the chance of U and less, for n = 3 and n = 4.
    #[test]
    fn small_samples_are_as_mann_and_whitney_tabulated() {
        let tail = |n: usize, m: usize, u: usize| {
            let ways = partitions(n, m);
            ways[..=u].iter().sum::<f64>() / ways.iter().sum::<f64>()
        };
        for (u, chance) in [0.050, 0.100, 0.200, 0.350, 0.500, 0.650].into_iter().enumerate() {
            close(tail(3, 3, u), chance, 0.0006);
        }
        for (u, chance) in
            [0.014, 0.029, 0.057, 0.100, 0.171, 0.243, 0.343, 0.443, 0.557].into_iter().enumerate()
        {
            close(tail(4, 4, u), chance, 0.0006);
        }
        assert_eq!(partitions(10, 10).iter().sum::<f64>(), 184_756.0, "20 over 10");
    }

    /// Hollander and Wolfe, "Nonparametric Statistical Methods" (1973), page 69: permeability of the human chorioamnion
    /// at term and at 12 to 26 weeks. R's `wilcox.test` gives W = 35 and, one-sided, p = 0.1272.
    #[test]
    fn the_example_of_hollander_and_wolfe_comes_out() {
        let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let weeks = [1.15, 0.88, 0.90, 0.74, 1.21];
        let compared = compare(&term, &weeks).unwrap();
        assert_eq!(compared.u, 35.0);
        close(compared.p / 2.0, 0.1272, 0.00005);
        close(compared.delta, 0.4, 1e-12);
    }

    /// SciPy's documentation of `mannwhitneyu`: U = 17, p = 0.1111 exactly, and 0.11134688653314041 by approximation.
    #[test]
    fn the_example_of_scipy_comes_out() {
        let (males, females) = ([19.0, 22.0, 16.0, 29.0, 24.0], [20.0, 11.0, 17.0, 12.0]);
        let compared = compare(&males, &females).unwrap();
        assert_eq!(compared.u, 17.0);
        close(compared.p, 0.111_111_111_111, 1e-9);
        close(normal(5, 4, 17.0, 0.0), 0.111_346_886_533_140_41, 1e-12);
    }

    /// R's example of `wilcox.test` with ties: ozone in New York in May and in August 1973 (`airquality`), W = 127.5,
    /// p = 0.0001208.
    #[test]
    fn ties_are_corrected_as_r_does() {
        let may = [
            41, 36, 12, 18, 28, 23, 19, 8, 7, 16, 11, 14, 18, 14, 34, 6, 30, 11, 1, 11, 4, 32, 23, 45, 115,
            37,
        ];
        let august = [
            39, 9, 16, 78, 35, 66, 122, 89, 110, 44, 28, 65, 22, 59, 23, 31, 44, 21, 9, 45, 168, 73, 76, 118,
            84, 85,
        ];
        let compared = compare(&may.map(f64::from), &august.map(f64::from)).unwrap();
        assert_eq!(compared.u, 127.5);
        close(compared.p, 0.000_120_8, 0.000_000_05);
    }

    #[test]
    fn small_samples_cannot_differ_by_much() {
        close(least(3, 3), 2.0 / 20.0, 1e-12);
        close(least(4, 4), 2.0 / 70.0, 1e-12);
        assert_eq!(least(1, 1), 1.0);
        let apart = compare(&[4.0, 5.0, 6.0], &[1.0, 2.0, 3.0]).unwrap();
        assert_eq!(apart.p, least(3, 3), "further apart than these is nothing");
        assert!(least(30, 30) < 1e-9);
    }

    #[test]
    fn what_is_alike_is_no_difference() {
        let same = compare(&[1.0; 20], &[1.0; 20]).unwrap();
        assert_eq!((same.p, same.delta), (1.0, 0.0));
        let apart = compare(&[5.0, 6.0, 7.0, 8.0, 9.0], &[1.0, 2.0, 3.0, 4.0, 4.5]).unwrap();
        assert_eq!(apart.delta, 1.0);
        close(apart.p, 2.0 / 252.0, 1e-12);
        assert_eq!(compare(&[], &[1.0]), None);
        close(erfc(0.0), 1.0, 1e-15);
        close(erfc(1.0), 0.157_299_207_050_285, 1e-13);
        close(erfc(3.0), 0.000_022_090_496_998_585, 1e-17);
    }
}
