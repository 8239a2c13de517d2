// Convolution of pixels with int8 weights: pads and converts the pixels, multiplies, passes scaled sums to the
// epilogue.
//
// A result is a sum over the taps inside the map of weights times pixels minus their zero point:
//   sum(w * p) - round(sum(w * zero) / 256)
// Taps outside the map read 0 and add nothing to the first sum. The second sum depends only on the border classes of
// row and column. Together with the offset of the kernel's pixels it is the start value of the accumulators.
#include "ops/border_classes.h"
#include "ops/conv_plan.h"

namespace onebit {
namespace {

constexpr int64_t kZeroUnit = 256;  // zero points are in 256ths of a pixel value

// Rounded to the nearest integer, halves up.
int64_t in_pixels(int64_t sum) {
  const int64_t shifted = sum + kZeroUnit / 2, rest = (shifted % kZeroUnit + kZeroUnit) % kZeroUnit;
  return (shifted - rest) / kZeroUnit;
}

class Int8Conv2d final : public RowOp {
 public:
  Int8Conv2d(BuildContext build, const ConvPlan& plan, size_t input, const Table<int8_t>& weight,
             const Table<int32_t>& zero, const Table<float>& scale, Epilogue epilogue)
      : kernel_(*build.kernels.int8_conv),
        input_(input),
        group_channels_(plan.input.channels / plan.geometry.groups),
        plan_(plan),
        epilogue_(std::move(epilogue)),
        run_words_((run_values() + kernel_.word_values - 1) / kernel_.word_values),
        row_bytes_(plan.runs.size() * run_words_ * kernel_.word_values * kernel_.value_bytes),
        table_length_(table_stride(plan.geometry.out_channels)),
        scale_(padded_table(build.store, scale, plan.geometry.out_channels, table_length_)),
        panel_rows_(shared_panel_rows(build.store, plan, kernel_.panel)),
        weights_(pack(build.store, weight)),
        borders_(shared_borders(build.store, plan.geometry, plan.input, plan.output)),
        start_(starts(build.store, weight, zero)),
        border_(build.store.zeros<uint8_t>(plan.padded_width * plan.input.channels)) {}

  size_t scratch_bytes() const override {
    return plan_.prepared_bytes() + kernel_.word_values * kernel_.value_bytes;  // a word may be read past the end
  }
  size_t worker_scratch_bytes() const override { return collected_bytes() + plain_row_bytes(); }
  const char* kernel() const override { return kernel_.name; }
  size_t macs() const override { return plan_.pixels() * plan_.taps() * group_channels_ * plan_.geometry.out_channels; }

  size_t rows() const override { return plan_.output.vertical; }

  // Pads the pixels and converts them to the kernel's type.
  void prepare(const RunContext& context) const override {
    const size_t values = plan_.padded_width * plan_.input.channels;
    context.team.for_ranges(plan_.padded_height, [&](size_t begin, size_t end, size_t worker) {
      const auto offset = static_cast<int16_t>(kernel_.offset);
      for (size_t y = begin; y < end; ++y) {
        uint8_t* const row = context.scratch + y * values * kernel_.value_bytes;
        uint8_t* const plain = kernel_.value_bytes == 1 ? row : context.worker_scratch[worker] + collected_bytes();
        plan_.fill_row(context.values[input_], border_, plan_.input.channels, y, plain);
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
          kernel_.multiply({pixels, count, plan_.runs.data(), plan_.runs.size(), run_words_,
                            weights_ + panel_rows_[b] * row_bytes_, block.rows(), start, scale_ + block.row, y});
        },
        [&](const EpilogueTile& tile, const float* y, size_t stride) { epilogue_.kernel().floats(tile, y, stride); });
  }

 private:
  size_t run_values() const { return plan_.taps_per_run * group_channels_; }
  size_t collected_bytes() const {
    return plan_.collect_groups
               ? round_up(plan_.tile_pixels(kernel_.pixels) * plan_.collected_stride() * sizeof(float), 64)
               : 0;
  }

  // Of a padded row of pixels, where the kernel does not take bytes.
  size_t plain_row_bytes() const { return kernel_.value_bytes == 1 ? 0 : plan_.padded_width * plan_.input.channels; }

  // The start values of `count` pixels from `first` on, for the channels from `row` on.
  void find_starts(size_t first, size_t count, size_t row, const int32_t** start) const {
    const int32_t* table = start_ + row;
    size_t y = first / plan_.output.horizontal, x = first % plan_.output.horizontal;
    for (size_t p = 0; p < count; ++p) {
      start[p] = table + borders_.at(y, x) * table_length_;
      if (++x == plan_.output.horizontal) {
        x = 0;
        ++y;
      }
    }
  }

  // Panels of consecutive channels, their words in the order in which the kernel reads them.
  const uint8_t* pack(Store& store, const Table<int8_t>& weight) const {
    const auto fill = [weight, &kernel = kernel_, &plan = plan_, &panel_rows = panel_rows_, run_values = run_values(),
                       run_words = run_words_, row_values = row_bytes_ / kernel_.value_bytes,
                       depth = plan_.taps() * group_channels_](uint8_t* out, Poll& poll) {
      const size_t panel_values = row_values * kernel.panel;
      for (size_t b = 0; b < plan.blocks.size(); ++b) {
        for (size_t c = 0; c < plan.blocks[b].rows(); ++c) {
          const int8_t* row = weight.data() + (plan.blocks[b].row + c) * depth;
          const size_t panel = panel_rows[b] * row_values + c / kernel.panel * panel_values;
          for (size_t k = 0; k < depth; ++k) {
            const size_t run = k / run_values, value = k % run_values;
            const size_t word = run * run_words + value / kernel.word_values;
            const size_t lane = word * kernel.panel + c % kernel.panel;
            const size_t index = panel + lane * kernel.word_values + value % kernel.word_values;
            if (kernel.value_bytes == 1) {
              out[index] = static_cast<uint8_t>(row[k]);
            } else {
              reinterpret_cast<int16_t*>(out)[index] = row[k];
            }
          }
        }
        poll();
      }
    };
    return store.block<uint8_t>(Key(kernel_.name, weight, plan_.geometry.groups, plan_.geometry.out_channels,
                                    plan_.geometry.kernel, plan_.taps_per_run, group_channels_),
                                panel_rows_.back() * row_bytes_, fill);
  }

  // [class pair][table_length_]: the start values of the accumulators.
  const int32_t* starts(Store& store, const Table<int8_t>& weight, const Table<int32_t>& zero) const {
    const auto fill = [weight, zero, &plan = plan_, &borders = borders_, length = table_length_,
                       channels = group_channels_, offset = int64_t{kernel_.offset}](int32_t* out, Poll& poll) {
      const Convolution& g = plan.geometry;
      for (size_t o = 0; o < g.out_channels; ++o) {
        const int32_t* group_zero = zero.data() + o / (g.out_channels / g.groups) * channels;
        const int8_t* row = weight.data() + o * plan.taps() * channels;
        int64_t all = 0;
        const auto tap = [&](size_t y, size_t x) {
          const int8_t* w = row + (y * g.kernel.horizontal + x) * channels;
          int64_t sum = 0;
          for (size_t c = 0; c < channels; ++c) {
            all += w[c];
            sum += int64_t{w[c]} * group_zero[c];
          }
          return sum;
        };
        borders.sum_inside<int64_t>(out + o, length, tap, [&](int64_t inside) {
          return static_cast<int32_t>(offset * all - in_pixels(inside));
        });
        poll();
      }
    };
    // With padding, since kernels read a whole block from any channel on.
    return store.block<int32_t>(Key("starts", weight, zero, &plan_, static_cast<size_t>(kernel_.offset)),
                                borders_.count() * table_length_ + kBlock, fill);
  }

  const Int8ConvKernel& kernel_;
  size_t input_;
  size_t group_channels_;
  const ConvPlan& plan_;
  Epilogue epilogue_;
  size_t run_words_, row_bytes_;  // words of a run; bytes of a channel in its panel
  size_t table_length_;
  const float* scale_;
  const std::vector<size_t>& panel_rows_;
  const uint8_t* weights_;
  const BorderPairs& borders_;
  const int32_t* start_;   // [class pair][table_length_]
  const uint8_t* border_;  // a row of padding: zeros
};

}  // namespace

std::unique_ptr<Op> make_int8_conv2d(BuildContext build, Shape input_shape, size_t input, const Convolution& geometry,
                                     const Table<int8_t>& weight, const Table<int32_t>& zero, const Table<float>& scale,
                                     Epilogue epilogue) {
  const size_t bytes = input_shape.channels / geometry.groups * build.kernels.int8_conv->value_bytes;
  const ConvPlan& plan = shared_plan(build.store, input_shape, geometry, bytes);
  return std::make_unique<Int8Conv2d>(build, plan, input, weight, zero, scale, std::move(epilogue));
}

}  // namespace onebit
