// Real-valued convolution by minimal filtering along the rows, four results at a time.
#include "ops/row_conv2d.h"

#include "ops/conv_plan.h"
#include "ops/minimal_filter.h"

namespace onebit {
namespace {

constexpr size_t kResults = MinimalFilter::kResults;
constexpr size_t kLanes = 16;  // of the widest vector
constexpr size_t kTilesAtOnce = 16;
constexpr size_t kMaxStride = 4;
constexpr size_t kMaxPhaseProducts = MinimalFilter::kMaxTaps + kResults - 1;
constexpr size_t kInfinity = kMaxPhaseProducts - 1;  // its number among the points: the last

// One of the products of a tile, which is kResults neighboring results: a linear combination of pixels times a linear
// combination of weights.
struct Product {
  std::vector<size_t> columns;      // of the pixels, relative to the tile's first
  std::vector<float> factors;       // of these pixels
  size_t point;                     // number of the point
  size_t first_tap, tap_step;       // of the kernel's row
  std::vector<double> tap_factors;  // for first_tap, first_tap + tap_step, ...
};

// All products at one point, which are consecutive and accumulated together.
struct Sum {
  size_t first, count;
};

// A filter with stride s is the sum of s filters with stride 1: each has every s-th tap and reads every s-th pixel.
// They use the same points; the products are sorted by point.
std::vector<Product> find_products(size_t kernel, size_t stride) {
  std::vector<Product> products;
  for (size_t phase = 0; phase < std::min(kernel, stride); ++phase) {
    const MinimalFilter filter((kernel - phase + stride - 1) / stride);
    for (size_t i = 0; i < filter.products; ++i) {
      Product product{{}, {}, i + 1 == filter.products ? kInfinity : i, phase, stride, {}};
      for (size_t k = 0; k < filter.products; ++k) {
        const float factor = filter.data[i * filter.products + k];
        if (factor == 0) continue;
        product.columns.push_back(k * stride + phase);
        product.factors.push_back(factor);
      }
      const auto row = filter.filter.begin() + static_cast<ptrdiff_t>(i * filter.taps);
      product.tap_factors.assign(row, row + static_cast<ptrdiff_t>(filter.taps));
      products.push_back(product);
    }
  }
  std::stable_sort(products.begin(), products.end(),
                   [](const Product& a, const Product& b) { return a.point < b.point; });
  return products;
}

std::vector<Sum> find_sums(const std::vector<Product>& products) {
  std::vector<Sum> sums;
  for (size_t i = 0; i < products.size(); ++i) {
    if (i == 0 || products[i].point != products[i - 1].point) sums.push_back({i, 0});
    ++sums.back().count;
  }
  return sums;
}

// The products of a convolution and the layout of prepared rows.
struct RowPlan {
  std::vector<Product> products;
  std::vector<Sum> sums;
  size_t tiles, tile_stride;
  size_t columns;       // of the input that the tiles of a row read
  size_t plane_floats;  // of one column of the period and one channel, for all tiles and what the last ones reach
  std::vector<ptrdiff_t> runs;  // of each product

  explicit RowPlan(const ConvPlan& plan)
      : products(find_products(plan.geometry.kernel.horizontal, plan.geometry.stride.horizontal)),
        sums(find_sums(products)),
        tiles((plan.output.horizontal + kResults - 1) / kResults),
        tile_stride(round_up(tiles, kLanes)) {
    size_t reach = 0;  // of a tile
    for (const Product& product : products) {
      for (const size_t column : product.columns) reach = std::max(reach, column + 1);
    }
    const size_t period = kResults * plan.geometry.stride.horizontal;
    columns = (tiles - 1) * period + reach;
    plane_floats = tile_stride + round_up((reach - 1) / period + 1, kLanes);
    for (size_t i = 0; i < products.size(); ++i) {
      for (size_t y = 0; y < plan.geometry.kernel.vertical; ++y) {
        const size_t row = y * plan.geometry.dilation.vertical * products.size() + i;
        for (size_t c = 0; c < plan.input.channels; ++c) {
          runs.push_back(static_cast<ptrdiff_t>((row * plan.input.channels + c) * tile_stride * sizeof(float)));
        }
      }
    }
  }

  size_t bytes() const {
    constexpr size_t kOfAProduct = kMaxPhaseProducts * (sizeof(size_t) + sizeof(float) + sizeof(double));
    return products.capacity() * (sizeof products[0] + kOfAProduct) + sums.capacity() * sizeof sums[0] +
           runs.capacity() * sizeof runs[0];
  }
};

class RowConv2d final : public RowOp {
 public:
  RowConv2d(BuildContext build, const ConvPlan& plan, size_t input, const RealWeights& weights, Epilogue epilogue)
      : kernel_(*build.kernels.float_conv),
        input_(input),
        plan_(plan),
        row_plan_(build.store.object(
            Key("row plan", &plan), [&] { return RowPlan(plan); }, [](const RowPlan& p) { return p.bytes(); })),
        epilogue_(std::move(epilogue)),
        products_(row_plan_.products),
        sums_(row_plan_.sums),
        tiles_(row_plan_.tiles),
        tile_stride_(row_plan_.tile_stride),
        depth_(plan.geometry.kernel.vertical * plan.input.channels),
        panel_rows_(shared_panel_rows(build.store, plan, kernel_.panel)),
        weights_(pack(build.store, weights)) {}

  size_t worker_scratch_bytes() const override {
    const size_t planes = period() * plan_.input.channels * row_plan_.plane_floats;
    return (stripe_input_rows(kStripe) * row_floats() + std::max(planes, sums_floats() + results_floats())) *
           sizeof(float);
  }
  const char* kernel() const override { return kernel_.row_name; }
  size_t macs() const override {
    return plan_.pixels() * plan_.taps() * plan_.input.channels * plan_.geometry.out_channels;
  }

  size_t rows() const override { return plan_.output.vertical; }

  // Stripe by stripe, so that prepared rows stay in the L2 cache. Rows that two stripes need are prepared twice.
  void run_rows(const RunContext& context, size_t begin, size_t end) const override {
    context.team.for_ranges((end - begin + kStripe - 1) / kStripe, [&](size_t first, size_t last, size_t worker) {
      auto* prepared = reinterpret_cast<float*>(context.worker_scratch[worker]);
      float* sums = prepared + stripe_input_rows(kStripe) * row_floats();
      for (size_t row = begin + first * kStripe; row < std::min(end, begin + last * kStripe); row += kStripe) {
        const size_t count = std::min(kStripe, end - row);
        for (size_t y = 0; y < stripe_input_rows(count); ++y) {
          prepare_row(context, row * plan_.geometry.stride.vertical + y, sums, prepared + y * row_floats());
        }
        for (size_t block = 0; block < plan_.blocks.size(); ++block) {
          for (size_t i = 0; i < count; ++i) {
            finish_row(context, block, row + i, prepared + i * plan_.geometry.stride.vertical * row_floats(), sums);
          }
        }
      }
    });
  }

 private:
  // Input rows that `rows` rows of the output read.
  size_t stripe_input_rows(size_t rows) const {
    const Convolution& g = plan_.geometry;
    return (rows - 1) * g.stride.vertical + (g.kernel.vertical - 1) * g.dilation.vertical + 1;
  }
  // Columns of the input from one tile to the next.
  size_t period() const { return kResults * plan_.geometry.stride.horizontal; }
  // A prepared row is [product][channel][tile].
  size_t row_floats() const { return products_.size() * plan_.input.channels * tile_stride_; }
  size_t sums_floats() const { return round_up(sums_.size(), kBlock / kernel_.panel) * kTilesAtOnce * kernel_.panel; }
  static constexpr size_t results_floats() { return kTilesAtOnce * kResults * kBlock; }

  // The weights of each sum in panels, as for a convolution with kernels one column wide, sum by sum for each block.
  const float* pack(Store& store, const RealWeights& weights) const {
    const auto fill = [weights, &plan = plan_, &row_plan = row_plan_, &panel_rows = panel_rows_, panel = kernel_.panel,
                       depth = depth_](float* out, Poll& poll) {
      const Convolution& g = plan.geometry;
      const size_t channels = plan.input.channels;
      weights.visit(channels, [&](auto at) {
        for (size_t b = 0; b < plan.blocks.size(); ++b) {
          const ConvPlan::Block& block = plan.blocks[b];
          for (const Sum& sum : row_plan.sums) {
            const auto factor = [&](size_t channel, size_t k) {
              const Product& product = row_plan.products[sum.first + k / depth];
              const size_t row = (block.row + channel) * g.kernel.vertical + k % depth / channels;
              double total = 0;
              for (size_t i = 0; i < product.tap_factors.size(); ++i) {
                const size_t tap = product.first_tap + i * product.tap_step;
                total += product.tap_factors[i] * at(row * g.kernel.horizontal + tap, k % channels);
              }
              return static_cast<float>(total);
            };
            fill_panels(out, panel, block.rows(), sum.count * depth, factor);
            out += (panel_rows[b + 1] - panel_rows[b]) * sum.count * depth;
          }
          poll();
        }
      });
    };
    return store.block<float>(Key("row panels", weights.floats, weights.bits, plan_.geometry.out_channels,
                                  plan_.geometry.kernel, plan_.geometry.stride.horizontal, depth_, kernel_.panel),
                              panel_rows_.back() * products_.size() * depth_, fill);
  }

  // Splits a row of pixels into planes [column of the period][channel][tile] and computes the products' combinations.
  void prepare_row(const RunContext& context, size_t y, float* planes, float* row) const {
    if (plan_.is_border(y)) {
      std::fill_n(row, row_floats(), 0.0f);
      return;
    }
    const size_t channels = plan_.input.channels, width = plan_.input.width, left = plan_.geometry.padding.horizontal;
    const auto* map = reinterpret_cast<const float*>(context.values[input_]) +
                      (y - plan_.geometry.padding.vertical) * width * channels;
    std::fill_n(planes, period() * channels * row_plan_.plane_floats, 0.0f);
    for (size_t column = 0; column < period(); ++column) {
      float* plane = planes + column * channels * row_plan_.plane_floats;
      size_t tile = column < left ? (left - column + period() - 1) / period() : 0;
      for (size_t x = tile * period() + column; x < std::min(left + width, row_plan_.columns); x += period(), ++tile) {
        for (size_t c = 0; c < channels; ++c) plane[c * row_plan_.plane_floats + tile] = map[(x - left) * channels + c];
      }
    }
    const float* terms[kMaxPhaseProducts];
    for (const Product& product : products_) {
      for (size_t i = 0; i < product.columns.size(); ++i) {
        const size_t column = product.columns[i];
        terms[i] = planes + column % period() * channels * row_plan_.plane_floats + column / period();
      }
      kernel_.combine({terms, product.factors.data(), product.columns.size(), row_plan_.plane_floats, tile_stride_,
                       channels, row, tile_stride_});
      row += channels * tile_stride_;
    }
  }

  // Computes and finishes a row of the output; `from` is the first prepared row that it reads.
  void finish_row(const RunContext& context, size_t block, size_t row, const float* from, float* sums) const {
    float* results = sums + sums_floats();
    const size_t width = plan_.output.horizontal;
    for (size_t tile = 0; tile < tiles_; tile += kTilesAtOnce) {
      const size_t count = std::min(kTilesAtOnce, tiles_ - tile), pixel = tile * kResults;
      compute(block, from + tile, count, sums, results);
      epilogue_.finish(context, results, kBlock, row * width + pixel, std::min(count * kResults, width - pixel),
                       plan_.blocks[block].channel, plan_.blocks[block].channels);
    }
  }

  // The results of `count` tiles of a row, [kResults * count][kBlock]; `from` is the first tile in the first prepared
  // row. Panel by panel, so that all sums, [sum][tile][panel], stay in the L1 cache.
  void compute(size_t block, const float* from, size_t count, float* sums, float* results) const {
    const size_t panel = kernel_.panel, side_by_side = kBlock / panel;
    const ptrdiff_t* all_runs = row_plan_.runs.data();
    const size_t block_rows = panel_rows_[block + 1] - panel_rows_[block];
    const float* block_weights = weights_ + panel_rows_[block] * products_.size() * depth_;
    const uint8_t* pixels[kTilesAtOnce];
    for (size_t tile = 0; tile < count; ++tile) pixels[tile] = reinterpret_cast<const uint8_t*>(from + tile);
    for (size_t channel = 0; channel < plan_.blocks[block].rows(); channel += panel) {
      const auto sums_of = [&](size_t i) {
        return sums + i / side_by_side * count * kBlock + i % side_by_side * panel;
      };
      for (size_t i = 0; i < sums_.size(); ++i) {
        const ptrdiff_t* runs = all_runs + sums_[i].first * depth_;
        const size_t run_count = sums_[i].count * depth_;
        const float* weights = block_weights + block_rows * sums_[i].first * depth_ + channel * run_count;
        for (size_t tile = 0; tile < count; tile += kernel_.pixels) {
          kernel_.multiply({pixels + tile, std::min(kernel_.pixels, count - tile), runs, run_count, 1, weights, panel,
                            sums_of(i) + tile * kBlock});
        }
      }
      const float* at_points[kMaxPhaseProducts];
      for (size_t i = 0; i < sums_.size(); ++i) at_points[i] = sums_of(i);
      kernel_.find_results({at_points, sums_.size() - 1, count, kBlock, panel, results + channel});
    }
  }

  const FloatConvKernel& kernel_;
  size_t input_;
  const ConvPlan& plan_;
  const RowPlan& row_plan_;
  Epilogue epilogue_;
  const std::vector<Product>& products_;
  const std::vector<Sum>& sums_;
  size_t tiles_, tile_stride_, depth_;  // depth: weights of a product and channel
  const std::vector<size_t>& panel_rows_;
  const float* weights_;
};

}  // namespace

bool fits_row_conv2d(const ConvPlan& plan) {
  const Convolution& g = plan.geometry;
  const size_t kernel = g.kernel.horizontal, stride = g.stride.horizontal;
  if (g.groups > 1 || g.dilation.horizontal > 1 || stride > kMaxStride || kernel > stride * MinimalFilter::kMaxTaps) {
    return false;
  }
  // Measured: enough products must be saved to pay for the transforms, and a row must have enough tiles for a kernel.
  const size_t depth = g.kernel.vertical * plan.input.channels;
  const size_t products = kernel + (kResults - 1) * std::min(kernel, stride);
  return depth >= 20 && depth <= 200 && g.out_channels >= 32 && plan.output.horizontal >= 28 &&
         5 * kResults * kernel >= 9 * products;
}

std::unique_ptr<Op> make_row_conv2d(BuildContext build, const ConvPlan& plan, size_t input, const RealWeights& weights,
                                    Epilogue epilogue) {
  return std::make_unique<RowConv2d>(build, plan, input, weights, std::move(epilogue));
}

}  // namespace onebit
