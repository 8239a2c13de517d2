// The matrices of minimal filtering.
#include "ops/minimal_filter.h"

#include <cmath>

namespace onebit {
namespace {

constexpr double kPoints[] = {0, 1, -1, 0.5, -2, 2};

// The coefficients of the product of (x - p) over all points p except number `left_out`, lowest first.
std::vector<double> product_of_roots(size_t points, size_t left_out) {
  std::vector<double> c{1};
  for (size_t i = 0; i < points; ++i) {
    if (i == left_out) continue;
    c.push_back(0);
    for (size_t k = c.size() - 1; k > 0; --k) c[k] = c[k - 1] - kPoints[i] * c[k];
    c[0] *= -kPoints[i];
  }
  return c;
}

}  // namespace

MinimalFilter::MinimalFilter(size_t t)
    : taps(t), products(t + kResults - 1), filter(products * taps), data(products * products) {
  const size_t points = products - 1;
  for (size_t i = 0; i < points; ++i) {
    double scale = 1;
    for (size_t j = 0; j < points; ++j) scale *= j == i ? 1 : kPoints[i] - kPoints[j];
    for (size_t k = 0; k < taps; ++k) filter[i * taps + k] = std::pow(kPoints[i], static_cast<double>(k)) / scale;
    const std::vector<double> row = product_of_roots(points, i);
    for (size_t k = 0; k < row.size(); ++k) data[i * products + k] = static_cast<float>(row[k]);
  }
  // At infinity the value is the highest coefficient.
  filter[points * taps + taps - 1] = 1;
  const std::vector<double> row = product_of_roots(points, points);
  for (size_t k = 0; k < row.size(); ++k) data[points * products + k] = static_cast<float>(row[k]);
}

}  // namespace onebit
