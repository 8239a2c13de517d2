// Binary convolution: prepares activations, counts differing bits, hands the counts to the epilogue.
//
// Padding of -1 or +1 is just bits around the map. Padding of 0 is computed as +1 and put right by the depth: with the
// sum of a pixel written as `depth - 2 * diff`, taps outside the map have added sum(w) each, so the depth of a pixel
// is less by sum(w) over its outside taps. Which taps lie outside depends on the row and the column only through the
// class of each (which kernel rows, which kernel columns stick out), so the depths form a small table per class pair.
#include <optional>

#include "ops/border_classes.h"
#include "ops/conv_plan.h"

namespace onebit {
namespace {

// In steps that compilers turn into vectors: taps outside the map are counted once for each class of the border.
int population(uint32_t x) {
  x -= (x >> 1) & 0x55555555u;
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  x = (x + (x >> 4)) & 0x0F0F0F0Fu;
  x += x >> 8;
  return static_cast<int>((x + (x >> 16)) & 63);
}

class BinaryConv2d final : public Op {
 public:
  BinaryConv2d(const Kernels& kernels, ConvPlan plan, size_t input, int pad_value, const std::vector<uint32_t>& weight,
               Epilogue epilogue)
      : kernel_(*kernels.binary_conv),
        input_(input),
        group_channels_(plan.input.channels / plan.geometry.groups),
        group_words_(words_for(group_channels_)),
        plan_(std::move(plan)),
        epilogue_(std::move(epilogue)),
        in_place_(!plan_.is_prepared() && !kernel_.prepare && !regroups()) {
    pack(weight);
    set_depth(weight, pad_value);
    set_border(pad_value);
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
                         weights_.data() + block * block_bytes_, plan_.blocks[block].rows(), diff});
        },
        [&](const EpilogueTile& tile, const int32_t* diff, size_t stride) {
          const int32_t* depth[kMaxPixels];
          find_depths(tile, depth);
          epilogue_.kernel().counts(tile, diff, stride, depth);
        });
  }

 private:
  // Groups that do not start with a word in the input.
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

  // The depths of each pixel of the tile, from the tile's entry in the tables on.
  void find_depths(const EpilogueTile& tile, const int32_t** depth) const {
    const int32_t* table = depth_.as<int32_t>() + tile.table;
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

  // Weights in the order in which the kernel meets them: by block, tap and word, then channel.
  void pack(const std::vector<uint32_t>& weight) {
    const size_t words = plan_.taps() * group_words_;
    block_bytes_ = round_up(words * kBlock * kernel_.weight_bytes, 64);
    weights_ = AlignedBytes(block_bytes_ * plan_.blocks.size());
    std::vector<uint32_t> plain(words * kBlock);
    for (size_t b = 0; b < plan_.blocks.size(); ++b) {
      std::fill(plain.begin(), plain.end(), 0);
      for (size_t c = 0; c < plan_.blocks[b].rows(); ++c) {
        const uint32_t* row = weight.data() + (plan_.blocks[b].row + c) * words;
        for (size_t w = 0; w < words; ++w) plain[w * kBlock + c] = row[w];
      }
      kernel_.pack_weights(plain.data(), plan_.runs.size(), run_words(), weights_.data() + b * block_bytes_);
    }
  }

  void set_depth(const std::vector<uint32_t>& weight, int pad_value) {
    const Convolution& g = plan_.geometry;
    const size_t length = plan_.table_entries();
    const auto depth = static_cast<int32_t>(plan_.taps() * group_channels_);
    if (pad_value != 0 || !plan_.is_padded()) {
      depth_ = AlignedBytes(length * sizeof(int32_t));
      std::fill_n(depth_.as<int32_t>(), length, depth);
      return;
    }
    borders_.emplace(g, plan_.input, plan_.output);
    depth_ = AlignedBytes(borders_->count() * length * sizeof(int32_t));
    int32_t* out = depth_.as<int32_t>();
    borders_->each([&](BorderClasses::Taps row, BorderClasses::Taps column) {
      for (size_t o = 0; o < g.out_channels; ++o) {
        out[plan_.result_channel(o)] = depth - outside_sum(weight, o, row, column);
      }
      out += length;
    });
  }

  // Sum of the weights of output channel `o` over the taps outside the map.
  int32_t outside_sum(const std::vector<uint32_t>& weight, size_t o, BorderClasses::Taps rows_inside,
                      BorderClasses::Taps columns_inside) const {
    int32_t sum = 0;
    const uint32_t* tap = weight.data() + o * plan_.taps() * group_words_;
    for (size_t row = 0; row < plan_.geometry.kernel.vertical; ++row) {
      for (size_t column = 0; column < plan_.geometry.kernel.horizontal; ++column) {
        if (!rows_inside.has(row) || !columns_inside.has(column)) {
          sum += static_cast<int32_t>(group_channels_);
          for (size_t w = 0; w < group_words_; ++w) sum -= 2 * population(tap[w]);
        }
        tap += group_words_;
      }
    }
    return sum;
  }

  void set_border(int pad_value) {
    if (!plan_.is_padded()) return;
    std::vector<uint32_t> words(group_words_, pad_value < 0 ? 0xFFFFFFFFu : 0);
    if (group_channels_ % kWordBits) words.back() &= (1u << group_channels_ % kWordBits) - 1;
    border_ = AlignedBytes(plan_.padded_width * pixel_words() * sizeof(uint32_t));
    for (size_t i = 0; i < plan_.padded_width * pixel_words(); ++i) border_.as<uint32_t>()[i] = words[i % group_words_];
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
      return plan_.fill_row(map, border_.as<uint8_t>(), pixel_words() * sizeof(uint32_t), y,
                            reinterpret_cast<uint8_t*>(out));
    }
    if (plan_.is_padded()) std::copy_n(border_.as<uint32_t>(), plan_.padded_width * pixel_words(), out);
    if (plan_.is_border(y)) return;
    const Pair padding = plan_.geometry.padding;
    const size_t words = words_for(plan_.input.channels);
    const uint32_t* row = reinterpret_cast<const uint32_t*>(map) + (y - padding.vertical) * plan_.input.width * words;
    for (size_t x = 0; x < plan_.input.width; ++x) {
      regroup(row + x * words, words, out + (padding.horizontal + x) * pixel_words());
    }
  }

  // Moves the bits of one pixel so that every group starts with a word of its own.
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
  ConvPlan plan_;
  Epilogue epilogue_;
  bool in_place_;  // the input is what the kernel wants, as it is
  size_t block_bytes_ = 0;
  AlignedBytes weights_;
  AlignedBytes depth_;                  // [class pair][table entries]
  std::optional<BorderPairs> borders_;  // where the depth depends on the pixel
  AlignedBytes border_;                 // a row of padding, in plain words
};

}  // namespace

std::unique_ptr<Op> make_binary_conv2d(const Kernels& kernels, Shape input_shape, size_t input,
                                       const Convolution& geometry, int pad_value, const std::vector<uint32_t>& weight,
                                       size_t shuffle, Epilogue epilogue) {
  const size_t bytes = words_for(input_shape.channels / geometry.groups) * kernels.binary_conv->word_bytes;
  const auto make = [&](const std::vector<uint32_t>& rows, size_t order) {
    return std::make_unique<BinaryConv2d>(kernels, ConvPlan(input_shape, geometry, bytes, order), input, pad_value,
                                          rows, std::move(epilogue));
  };
  if (geometry.groups > 1 || shuffle == 1) return make(weight, shuffle);
  // One group: its rows may be computed in any order, so that nothing needs to be moved afterwards.
  const size_t row = weight.size() / geometry.out_channels, each = geometry.out_channels / shuffle;
  std::vector<uint32_t> rows(weight.size());
  for (size_t o = 0; o < geometry.out_channels; ++o) {
    std::copy_n(weight.begin() + o * row, row, rows.begin() + (o % each * shuffle + o / each) * row);
  }
  return make(rows, 1);
}

std::unique_ptr<Op> make_binary_rpc2d(const Kernels& kernels, Shape input_shape, size_t input,
                                      const ReshapedConvolution& geometry, int pad_value,
                                      const std::vector<uint32_t>& weight, Epilogue epilogue) {
  const size_t bytes = words_for(input_shape.channels) * kernels.binary_conv->word_bytes;
  return std::make_unique<BinaryConv2d>(kernels, ConvPlan(input_shape, geometry, bytes), input, pad_value, weight,
                                        std::move(epilogue));
}

}  // namespace onebit
