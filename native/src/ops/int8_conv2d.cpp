// Convolution of pixels with int8 weights: pads and widens the pixels, multiplies, hands scaled sums to the epilogue.
//
// The sum of a result runs over the taps inside the map only, and over pixels less their zero:
//   sum(w * p) - round(sum(w * zero) / 256)
// Taps outside are pixels of 0 and so add nothing to the first sum. The second depends on the place only through the
// border classes of its row and column; with the offset of the kernel's pixels it is what each sum starts at.
#include "ops/border_classes.h"
#include "ops/conv_plan.h"

namespace onebit {
namespace {

constexpr int64_t kZeroUnit = 256;  // zeros are counted in 256ths of a pixel value

// Rounded to the nearest whole number, halves up.
int64_t in_pixels(int64_t sum) {
  const int64_t shifted = sum + kZeroUnit / 2, rest = (shifted % kZeroUnit + kZeroUnit) % kZeroUnit;
  return (shifted - rest) / kZeroUnit;
}

class Int8Conv2d final : public RowOp {
 public:
  Int8Conv2d(const Kernels& kernels, ConvPlan plan, size_t input, const std::vector<int8_t>& weight,
             const std::vector<int32_t>& zero, const std::vector<float>& scale, Epilogue epilogue)
      : kernel_(*kernels.int8_conv),
        input_(input),
        group_channels_(plan.input.channels / plan.geometry.groups),
        plan_(std::move(plan)),
        epilogue_(std::move(epilogue)),
        table_length_(padded_channels(plan_.geometry.out_channels)),
        scale_(table_length_ * sizeof(float)),
        borders_(plan_.geometry, plan_.input, plan_.output),
        border_(plan_.padded_width * plan_.input.channels) {
    std::copy(scale.begin(), scale.end(), scale_.as<float>());
    std::fill_n(border_.data(), border_.size(), 0);
    pack(weight);
    set_starts(weight, zero);
  }

  size_t scratch_bytes() const override {
    return plan_.prepared_bytes() + kernel_.word_values * kernel_.value_bytes;  // a word may be read past the end
  }
  size_t worker_scratch_bytes() const override { return collected_bytes() + plain_row_bytes(); }
  const char* kernel() const override { return kernel_.name; }
  size_t macs() const override { return plan_.pixels() * plan_.taps() * group_channels_ * plan_.geometry.out_channels; }

  size_t rows() const override { return plan_.output.vertical; }

  // Pads the pixels, and brings each value into the kernel's form.
  void prepare(const RunContext& context) const override {
    const size_t values = plan_.padded_width * plan_.input.channels;
    context.team.for_ranges(plan_.padded_height, [&](size_t begin, size_t end, size_t worker) {
      const auto offset = static_cast<int16_t>(kernel_.offset);
      for (size_t y = begin; y < end; ++y) {
        uint8_t* const row = context.scratch + y * values * kernel_.value_bytes;
        uint8_t* const plain = kernel_.value_bytes == 1 ? row : context.worker_scratch[worker] + collected_bytes();
        plan_.fill_row(context.values[input_], border_.data(), plan_.input.channels, y, plain);
        if (kernel_.value_bytes == 2) {
          auto* const wide = reinterpret_cast<int16_t*>(row);
          for (size_t i = 0; i < values; ++i) wide[i] = static_cast<int16_t>(plain[i] - offset);
        } else if (offset != 0) {
          for (size_t i = 0; i < values; ++i) row[i] = static_cast<uint8_t>(row[i] - offset);
        }
      }
    });
  }

  void run_rows(const RunContext& context, size_t begin, size_t end) const override {
    plan_.for_each_tile<float>(
        context, begin, end, epilogue_, context.scratch, kernel_.pixels, 1,
        [&](size_t b, size_t first, const uint8_t* const* pixels, size_t count, float* y) {
          const ConvPlan::Block& block = plan_.blocks[b];
          const int32_t* start[kMaxPixels];
          find_starts(first, count, block.row, start);
          kernel_.multiply({pixels, count, plan_.runs.data(), plan_.runs.size(), run_words(),
                            weights_.data() + block_start_[b], block.rows(), start, scale_.as<float>() + block.row, y});
        },
        [&](const EpilogueTile& tile, const float* y, size_t stride) { epilogue_.kernel().floats(tile, y, stride); });
  }

 private:
  size_t run_values() const { return plan_.taps_per_run * group_channels_; }
  size_t run_words() const { return (run_values() + kernel_.word_values - 1) / kernel_.word_values; }
  size_t collected_bytes() const {
    return plan_.collect_groups
               ? round_up(plan_.tile_pixels(kernel_.pixels) * plan_.collected_stride() * sizeof(float), 64)
               : 0;
  }

  // Of a padded row of pixels, where the kernel wants it in another form than bytes.
  size_t plain_row_bytes() const { return kernel_.value_bytes == 1 ? 0 : plan_.padded_width * plan_.input.channels; }

  // The starts of the sums of `count` pixels from `first` on, for the channels from `row` on.
  void find_starts(size_t first, size_t count, size_t row, const int32_t** start) const {
    const int32_t* table = start_.as<int32_t>() + row;
    size_t y = first / plan_.output.horizontal, x = first % plan_.output.horizontal;
    for (size_t p = 0; p < count; ++p) {
      start[p] = table + borders_.at(y, x) * table_length_;
      if (++x == plan_.output.horizontal) {
        x = 0;
        ++y;
      }
    }
  }

  // Panels of consecutive channels, each with its words in the order in which the kernel meets them.
  void pack(const std::vector<int8_t>& weight) {
    const size_t depth = plan_.taps() * group_channels_;
    const size_t panel_values = plan_.runs.size() * run_words() * kernel_.word_values * kernel_.panel;
    size_t bytes = 0;
    for (const ConvPlan::Block& block : plan_.blocks) {
      block_start_.push_back(bytes);
      bytes += round_up(block.rows(), kernel_.panel) / kernel_.panel * panel_values * kernel_.value_bytes;
    }
    weights_ = AlignedBytes(bytes);
    for (size_t b = 0; b < plan_.blocks.size(); ++b) {
      for (size_t c = 0; c < plan_.blocks[b].rows(); ++c) {
        const int8_t* row = weight.data() + (plan_.blocks[b].row + c) * depth;
        const size_t panel = c / kernel_.panel * panel_values;
        for (size_t k = 0; k < depth; ++k) {
          const size_t run = k / run_values(), value = k % run_values();
          const size_t word = run * run_words() + value / kernel_.word_values;
          const size_t lane = word * kernel_.panel + c % kernel_.panel;
          store(weights_.data() + block_start_[b], panel + lane * kernel_.word_values + value % kernel_.word_values,
                row[k]);
        }
      }
    }
  }

  // Entry `index` of an array of the kernel's values.
  void store(uint8_t* array, size_t index, int16_t value) const {
    if (kernel_.value_bytes == 1) {
      array[index] = static_cast<uint8_t>(value);
    } else {
      reinterpret_cast<int16_t*>(array)[index] = value;
    }
  }

  void set_starts(const std::vector<int8_t>& weight, const std::vector<int32_t>& zero) {
    const Convolution& g = plan_.geometry;
    start_ = AlignedBytes(borders_.count() * table_length_ * sizeof(int32_t));
    int32_t* out = start_.as<int32_t>();
    borders_.each([&](BorderClasses::Taps row, BorderClasses::Taps column) {
      for (size_t o = 0; o < g.out_channels; ++o) out[o] = start(weight, zero, o, row, column);
      out += table_length_;
    });
  }

  // What the sum of output channel `o` starts at where these taps are inside.
  int32_t start(const std::vector<int8_t>& weight, const std::vector<int32_t>& zero, size_t o,
                BorderClasses::Taps rows_inside, BorderClasses::Taps columns_inside) const {
    const Convolution& g = plan_.geometry;
    const int32_t* group_zero = zero.data() + o / (g.out_channels / g.groups) * group_channels_;
    const int8_t* w = weight.data() + o * plan_.taps() * group_channels_;
    int64_t all = 0, inside = 0;
    for (size_t row = 0; row < g.kernel.vertical; ++row) {
      for (size_t column = 0; column < g.kernel.horizontal; ++column) {
        const bool counts = rows_inside.has(row) && columns_inside.has(column);
        for (size_t c = 0; c < group_channels_; ++c, ++w) {
          all += *w;
          if (counts) inside += int64_t{*w} * group_zero[c];
        }
      }
    }
    return static_cast<int32_t>(kernel_.offset * all - in_pixels(inside));
  }

  const Int8ConvKernel& kernel_;
  size_t input_;
  size_t group_channels_;
  ConvPlan plan_;
  Epilogue epilogue_;
  size_t table_length_;
  AlignedBytes scale_;
  AlignedBytes weights_;
  std::vector<size_t> block_start_;
  AlignedBytes start_;  // [class pair][table_length_]
  BorderPairs borders_;
  AlignedBytes border_;  // a row of padding
};

}  // namespace

std::unique_ptr<Op> make_int8_conv2d(const Kernels& kernels, Shape input_shape, size_t input,
                                     const Convolution& geometry, const std::vector<int8_t>& weight,
                                     const std::vector<int32_t>& zero, const std::vector<float>& scale,
                                     Epilogue epilogue) {
  const size_t bytes = input_shape.channels / geometry.groups * kernels.int8_conv->value_bytes;
  return std::make_unique<Int8Conv2d>(kernels, ConvPlan(input_shape, geometry, bytes), input, weight, zero, scale,
                                      std::move(epilogue));
}

}  // namespace onebit
