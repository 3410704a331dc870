# Writes limma.json: what the R package limma, the home of these methods, says of the same data.
#
# Rscript make.R > limma.json     (R 4.2, limma 3.54; Debian: r-bioc-limma, r-cran-jsonlite)
#
# dyno clips ln s2 at the 5 % and 90 % quantiles before it fits the prior and limma's fitFDist does
# not. So the variances here have their lowest and highest values tied beyond those quantiles:
# clipping them changes nothing, and both must fit the same prior.

library(limma)
set.seed(20261121)

prior <- function(series, d0, df) {
  variance <- 1e-4 * d0 / rchisq(series, d0) * rchisq(series, df) / df
  low <- sort(variance)[ceiling(0.06 * series) + 1]
  high <- sort(variance)[floor(0.89 * series)]
  variance <- pmin(pmax(variance, low), high)
  fit <- fitFDist(variance, df)
  squeezed <- squeezeVar(variance, df)
  list(variances = variance, df = df, prior_value = fit$scale, prior_df = fit$df2,
       moderated = squeezed$var.post)
}

# TREAT on a matrix of log ratios, a row a series, with moderated variances.
treated <- function(series, rounds, delta) {
  sd <- 0.01 * exp(rnorm(series, 0, 0.5))
  d <- matrix(rnorm(series * rounds), series) * sd + rep(c(0.03, 0, 0, 0, -0.03), length.out = series)
  fit <- lmFit(d, matrix(1, rounds, 1))
  fit <- treat(fit, lfc = delta)
  list(mean = as.vector(fit$coefficients), variance = as.vector(fit$s2.post),
       df = as.vector(fit$df.total), rounds = rounds, delta = delta, p = as.vector(fit$p.value),
       q = p.adjust(as.vector(fit$p.value), "BH"))
}

result <- list(
  priors = list(prior(100, 1.5, 2), prior(200, 4, 5), prior(60, 2, 9)),
  treated = list(treated(25, 3, 0), treated(25, 3, 0.01), treated(25, 8, 0.02))
)
cat(jsonlite::toJSON(result, digits = NA, auto_unbox = TRUE, pretty = FALSE), "\n", sep = "")
