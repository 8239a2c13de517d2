// Binary convolution: prepares the activations, counts differing bits, passes the counts to the epilogue.
//
// Padding with -1 or +1 is a border of bits. Padding with 0 is computed as +1 and corrected by the depth: a pixel's sum
// is `depth - 2 * diff`, to which every tap outside the map has added the sum of its weights, so the depth is reduced
// by these sums. Which taps are outside depends only on the border classes of row and column (see border_classes.h), so
// the depths form a small table with a row for each pair of classes.
#include "ops/border_classes.h"
#include "ops/conv_plan.h"

namespace onebit {
namespace {

// Number of 1 bits, in steps that compilers vectorize.
int population(uint32_t x) {
  x -= (x >> 1) & 0x55555555u;
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  x = (x + (x >> 4)) & 0x0F0F0F0Fu;
  x += x >> 8;
  return static_cast<int>((x + (x >> 16)) & 63);
}

// The weights of a convolution as in the file, by rows of the plan.
class Weights {
 public:
  // With `shuffle`, output channel o is row o % (channels / shuffle) * shuffle + o / (channels / shuffle) of the plan.
  Weights(const ConvPlan& plan, Table<uint32_t> words, size_t shuffle)
      : plan_(plan),
        words_(std::move(words)),
        shuffle_(shuffle),
        row_words_(plan.taps() * words_for(plan.input.channels / plan.geometry.groups)) {}

  // The key of data that depends on the weights and on `parts`.
  template <class... Parts>
  Key key(const char* kind, const Parts&... parts) const {
    return Key(kind, words_, shuffle_, parts...);
  }
  size_t row_words() const { return row_words_; }
  const uint32_t* row(size_t row) const {
    const size_t channel = row % shuffle_ * (plan_.geometry.out_channels / shuffle_) + row / shuffle_;
    return words_.data() + channel * row_words_;
  }

 private:
  const ConvPlan& plan_;
  Table<uint32_t> words_;
  size_t shuffle_, row_words_;
};

class BinaryConv2d final : public Op {
 public:
  BinaryConv2d(BuildContext build, const ConvPlan& plan, size_t input, int pad_value, const Weights& weights,
               Epilogue epilogue)
      : kernel_(*build.kernels.binary_conv),
        input_(input),
        group_channels_(plan.input.channels / plan.geometry.groups),
        group_words_(words_for(group_channels_)),
        plan_(plan),
        epilogue_(std::move(epilogue)),
        in_place_(!plan_.is_prepared() && !kernel_.prepare && !regroups()),
        block_bytes_(round_up(weights.row_words() * kBlock * kernel_.weight_bytes, 64)),
        weights_(pack(build.store, weights)) {
    if (pad_value == 0 && plan_.is_padded())
      borders_ = &shared_borders(build.store, plan_.geometry, plan_.input, plan_.output);
    depth_ = borders_ ? border_depths(build.store, weights) : full_depth(build.store);
    if (plan_.is_padded()) border_ = border(build.store, pad_value);
  }

  size_t scratch_bytes() const override { return in_place_ ? 0 : plan_.prepared_bytes(); }
  size_t worker_scratch_bytes() const override { return collected_bytes() + (in_place_ ? 0 : plain_row_bytes()); }
  const char* kernel() const override { return kernel_.name; }
  size_t macs() const override { return plan_.pixels() * plan_.taps() * group_channels_ * plan_.geometry.out_channels; }

  void run(const RunContext& context) const override {
    const uint8_t* prepared = in_place_ ? context.values[input_] : context.scratch;
    if (!in_place_) prepare(context);
    plan_.for_each_tile<int32_t>(
        context, 0, plan_.output.vertical, epilogue_, prepared, kernel_.pixels, kernel_.span,
        [&](size_t block, size_t, const uint8_t* const* spans, size_t count, int32_t* diff) {
          kernel_.count({spans, count, plan_.runs.data(), plan_.runs.size(), run_words(),
                         weights_ + block * block_bytes_, plan_.blocks[block].rows(), diff});
        },
        [&](const EpilogueTile& tile, const int32_t* diff, size_t stride) {
          const int32_t* depth[kMaxPixels];
          find_depths(tile, depth);
          epilogue_.kernel().counts(tile, diff, stride, depth);
        });
  }

 private:
  // Whether groups do not start with a word in the input.
  bool regroups() const { return plan_.geometry.groups > 1 && group_channels_ % kWordBits != 0; }
  size_t run_words() const { return plan_.taps_per_run * group_words_; }
  size_t pixel_words() const { return plan_.geometry.groups * group_words_; }  // of the prepared map
  size_t collected_bytes() const {
    return plan_.collect_groups ? plan_.tile_pixels(kernel_.pixels) * plan_.collected_stride() * sizeof(int32_t) : 0;
  }
  size_t plain_row_bytes() const {
    const size_t pixels = plan_.padded_width + plan_.geometry.stride.horizontal;
    return (pixels * pixel_words() + kRowSlack) * sizeof(uint32_t);
  }

  // The address of each pixel's depths, from the tile's first channel on.
  void find_depths(const EpilogueTile& tile, const int32_t** depth) const {
    const int32_t* table = depth_ + tile.table;
    if (!borders_) {
      std::fill_n(depth, tile.pixel_count, table);
      return;
    }
    size_t y = tile.pixel / plan_.output.horizontal, x = tile.pixel % plan_.output.horizontal;
    for (size_t p = 0; p < tile.pixel_count; ++p) {
      const size_t border_class = borders_->at(y, x);
      depth[p] = table + border_class * plan_.table_entries();
      if (++x == plan_.output.horizontal) {
        x = 0;
        ++y;
      }
    }
  }

  // In the order in which the kernel reads them: block, tap, word, channel.
  const uint8_t* pack(Store& store, const Weights& weights) const {
    return store.block<uint8_t>(weights.key(kernel_.name, plan_.geometry.groups, plan_.geometry.out_channels,
                                            plan_.upscale, plan_.geometry.kernel, plan_.taps_per_run, group_channels_),
                                block_bytes_ * plan_.blocks.size(),
                                [weights, &kernel = kernel_, &plan = plan_, run_words = run_words(),
                                 bytes = block_bytes_](uint8_t* out, Poll& poll) {
                                  const uint32_t* rows[kBlock];
                                  for (const ConvPlan::Block& block : plan.blocks) {
                                    for (size_t c = 0; c < block.rows(); ++c) rows[c] = weights.row(block.row + c);
                                    kernel.pack_weights(rows, block.rows(), plan.runs.size(), run_words, out);
                                    out += bytes;
                                    poll();
                                  }
                                });
  }

  int32_t depth() const { return static_cast<int32_t>(plan_.taps() * group_channels_); }
  // With padding, since kernels read a whole block from any channel on.
  size_t depth_entries(size_t rows) const { return rows * plan_.table_entries() + kBlock; }

  const int32_t* full_depth(Store& store) const {
    const size_t entries = depth_entries(1);
    return store.block<int32_t>(Key("depth", plan_.table_entries(), static_cast<size_t>(depth())), entries,
                                [entries, depth = depth()](int32_t* out, Poll&) { std::fill_n(out, entries, depth); });
  }

  // [class pair][table entries]: without the weights of taps outside the map.
  const int32_t* border_depths(Store& store, const Weights& weights) const {
    return store.block<int32_t>(weights.key("border depths", &plan_), depth_entries(borders_->count()),
                                [weights, &plan = plan_, &borders = *borders_, words = group_words_, depth = depth(),
                                 channels = static_cast<int32_t>(group_channels_)](int32_t* out, Poll& poll) {
                                  for (size_t o = 0; o < plan.geometry.out_channels; ++o) {
                                    const uint32_t* row = weights.row(o);
                                    int32_t total = 0;
                                    const auto tap = [&](size_t y, size_t x) {
                                      const uint32_t* from = row + (y * plan.geometry.kernel.horizontal + x) * words;
                                      int32_t sum = channels;
                                      for (size_t w = 0; w < words; ++w) sum -= 2 * population(from[w]);
                                      total += sum;
                                      return sum;
                                    };
                                    borders.sum_inside<int32_t>(
                                        out + plan.result_channel(o), plan.table_entries(), tap,
                                        [&](int32_t inside) { return depth - (total - inside); });
                                    poll();
                                  }
                                });
  }

  // A row of padding, in plain words.
  const uint32_t* border(Store& store, int pad_value) const {
    const uint32_t last = group_channels_ % kWordBits ? (1u << group_channels_ % kWordBits) - 1 : ~0u;
    const size_t words = plan_.padded_width * pixel_words();
    if (pad_value >= 0) return store.zeros<uint32_t>(words);
    return store.block<uint32_t>(Key("border", words, group_words_, last), words,
                                 [=, group_words = group_words_](uint32_t* out, Poll&) {
                                   for (size_t i = 1; i <= words; ++i) *out++ = i % group_words ? ~0u : last;
                                 });
  }

  void prepare(const RunContext& context) const {
    const size_t row_words = plan_.padded_width * pixel_words();
    context.team.for_ranges(plan_.padded_height, [&](size_t begin, size_t end, size_t worker) {
      auto* plain = reinterpret_cast<uint32_t*>(context.worker_scratch[worker] + collected_bytes());
      std::fill_n(plain + row_words, plain_row_bytes() / sizeof(uint32_t) - row_words, 0);
      for (size_t y = begin; y < end; ++y) {
        uint8_t* out = context.scratch + y * plan_.padded_width * plan_.pixel_bytes;
        if (!kernel_.prepare) {
          fill_row(context, y, reinterpret_cast<uint32_t*>(out));
          continue;
        }
        fill_row(context, y, plain);
        kernel_.prepare(plain, plan_.padded_width, pixel_words(), plan_.geometry.stride.horizontal, out);
      }
    });
  }

  // Row y of the prepared map, in plain words.
  void fill_row(const RunContext& context, size_t y, uint32_t* out) const {
    const uint8_t* map = context.values[input_];
    if (!regroups()) {
      return plan_.fill_row(map, reinterpret_cast<const uint8_t*>(border_), pixel_words() * sizeof(uint32_t), y,
                            reinterpret_cast<uint8_t*>(out));
    }
    if (plan_.is_padded()) std::copy_n(border_, plan_.padded_width * pixel_words(), out);
    if (plan_.is_border(y)) return;
    const Pair padding = plan_.geometry.padding;
    const size_t words = words_for(plan_.input.channels);
    const uint32_t* row = reinterpret_cast<const uint32_t*>(map) + (y - padding.vertical) * plan_.input.width * words;
    for (size_t x = 0; x < plan_.input.width; ++x) {
      regroup(row + x * words, words, out + (padding.horizontal + x) * pixel_words());
    }
  }

  // Moves the bits of one pixel so that every group starts at a word.
  void regroup(const uint32_t* pixel, size_t words, uint32_t* out) const {
    for (size_t group = 0; group < plan_.geometry.groups; ++group) {
      for (size_t w = 0; w < group_words_; ++w) {
        const size_t first = group * group_channels_ + w * kWordBits;
        const size_t bits = std::min(kWordBits, group_channels_ - w * kWordBits);
        const size_t word = first / kWordBits, shift = first % kWordBits;
        uint64_t both = pixel[word];
        if (word + 1 < words) both |= static_cast<uint64_t>(pixel[word + 1]) << 32;
        *out++ = static_cast<uint32_t>(both >> shift) & (0xFFFFFFFFu >> (kWordBits - bits));
      }
    }
  }

  const BinaryConvKernel& kernel_;
  size_t input_;
  size_t group_channels_, group_words_;
  const ConvPlan& plan_;
  Epilogue epilogue_;
  bool in_place_;  // the kernel reads the input as it is
  size_t block_bytes_;
  const uint8_t* weights_;
  const BorderPairs* borders_ = nullptr;  // where the depth depends on the pixel
  const int32_t* depth_;                  // [class pair][table entries]
  const uint32_t* border_ = nullptr;      // a row of padding, in plain words
};

}  // namespace

std::unique_ptr<Op> make_binary_conv2d(BuildContext build, Shape input_shape, size_t input, const Convolution& geometry,
                                       int pad_value, const Table<uint32_t>& weight, size_t shuffle,
                                       Epilogue epilogue) {
  const size_t bytes = words_for(input_shape.channels / geometry.groups) * build.kernels.binary_conv->word_bytes;
  // With one group, the rows are computed in shuffled order instead of moving their results.
  const bool in_order = geometry.groups == 1;
  const ConvPlan& plan = shared_plan(build.store, input_shape, geometry, bytes, in_order ? 1 : shuffle);
  return std::make_unique<BinaryConv2d>(build, plan, input, pad_value, Weights(plan, weight, in_order ? shuffle : 1),
                                        std::move(epilogue));
}

std::unique_ptr<Op> make_binary_rpc2d(BuildContext build, Shape input_shape, size_t input,
                                      const ReshapedConvolution& geometry, int pad_value, const Table<uint32_t>& weight,
                                      Epilogue epilogue) {
  const size_t bytes = words_for(input_shape.channels) * build.kernels.binary_conv->word_bytes;
  const ConvPlan& plan = shared_plan(build.store, input_shape, geometry, bytes);
  return std::make_unique<BinaryConv2d>(build, plan, input, pad_value, Weights(plan, weight, 1), std::move(epilogue));
}

}  // namespace onebit
