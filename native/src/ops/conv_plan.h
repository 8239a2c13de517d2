// The geometry that both convolutions share: where taps lie, and the order in which tiles are computed.
#pragma once

#include <algorithm>
#include <vector>

#include "ops/op.h"

namespace onebit {

// A convolution reads a *prepared* map: the input with its padding all around, `pixel_bytes` for each pixel, of which
// each group owns `group_bytes`. Taps that are neighbours in memory form runs.
struct ConvPlan {
  ConvPlan(Shape input, const Convolution& geometry, size_t group_bytes);

  // Channels of the output, at most kBlock, of one group: the unit in which weights are interleaved.
  struct Block {
    size_t group, channel, channels;
  };

  Shape input;
  Convolution geometry;
  Pair output;
  size_t padded_height, padded_width;
  size_t group_bytes, pixel_bytes;
  std::vector<ptrdiff_t> runs;  // distance in bytes from a pixel's first tap
  size_t taps_per_run;
  std::vector<Block> blocks;
  // Groups whose channels do not fill words leave bits of one word to several groups. Their sums are collected side by
  // side for all channels before the epilogue runs; otherwise it runs block by block.
  bool collect_groups;

  size_t pixels() const { return output.vertical * output.horizontal; }
  size_t taps() const { return geometry.kernel.vertical * geometry.kernel.horizontal; }
  size_t prepared_bytes() const { return padded_height * padded_width * pixel_bytes; }
  bool is_padded() const { return geometry.padding.vertical > 0 || geometry.padding.horizontal > 0; }
  size_t collected_stride() const { return padded_channels(geometry.out_channels); }

  // A span is `span` neighbours in a row of the output; the last of a row may be cut short.
  struct Pixels {
    size_t begin, count;
  };
  // The address of the first tap of each of `count` spans from `from` on, of group 0, and the pixels that they cover.
  Pixels locate(const uint8_t* prepared, size_t span, size_t from, size_t count, const uint8_t** first) const;
  size_t spans_per_row(size_t span) const { return (output.horizontal + span - 1) / span; }
  size_t first_pixel(size_t span, size_t index) const {
    return index / spans_per_row(span) * output.horizontal + index % spans_per_row(span) * span;
  }

  // Splits all tiles among the threads. For every tile: compute(block index, addresses, spans, sums), where sums is
  // [spans * span][kBlock], then finish(tile, sums, stride) once the sums of all channels of `tile` are there. T is the
  // type of a sum; a kernel computes `tile_pixels` at a time, `span` from each address.
  template <class T, class Compute, class Finish>
  void for_each_tile(const RunContext& context, const Epilogue& epilogue, const uint8_t* prepared, size_t tile_pixels,
                     size_t span, Compute compute, Finish finish) const {
    const size_t spans = output.vertical * spans_per_row(span), tile_spans = tile_pixels / span;
    const size_t tiles = (spans + tile_spans - 1) / tile_spans;
    const auto one = [&](size_t tile, size_t first_block, size_t last_block, T* sums, T* collected) {
      const uint8_t *first[kMaxPixels], *group_first[kMaxPixels];
      const size_t from = tile * tile_spans, count = std::min(tile_spans, spans - from);
      const Pixels pixels = locate(prepared, span, from, count, first);
      EpilogueTile part = epilogue.tile(context);
      part.pixel = pixels.begin;
      part.pixel_count = pixels.count;
      for (size_t b = first_block; b < last_block; ++b) {
        const Block& block = blocks[b];
        for (size_t s = 0; s < count; ++s) group_first[s] = first[s] + block.group * group_bytes;
        compute(b, group_first, count, sums);
        if (part.pixel_count < count * span) close_gaps(span, from, count, sums);
        part.channel = block.channel;
        part.channels = block.channels;
        if (!collected) {
          finish(part, sums, kBlock);
          continue;
        }
        for (size_t p = 0; p < part.pixel_count; ++p) {
          std::copy_n(sums + p * kBlock, block.channels, collected + p * collected_stride() + block.channel);
        }
      }
      if (!collected) return;
      for (part.channel = 0; part.channel < geometry.out_channels; part.channel += kBlock) {
        part.channels = std::min(kBlock, geometry.out_channels - part.channel);
        finish(part, collected + part.channel, collected_stride());
      }
    };
    if (collect_groups) {
      context.pool.for_ranges(tiles, [&](size_t begin, size_t end, size_t worker) {
        T* collected = reinterpret_cast<T*>(context.worker_scratch[worker]);
        alignas(64) T sums[kMaxPixels * kBlock] = {};
        for (size_t tile = begin; tile < end; ++tile) one(tile, 0, blocks.size(), sums, collected);
      });
    } else {  // block by block, so that the weights of a block stay in cache over many pixels
      context.pool.for_ranges(tiles * blocks.size(), [&](size_t begin, size_t end, size_t) {
        alignas(64) T sums[kMaxPixels * kBlock] = {};  // channels that do not exist keep these zeros or finite sums
        size_t block = begin / tiles, tile = begin % tiles;
        for (size_t i = begin; i < end; ++i) {
          one(tile, block, block + 1, sums, nullptr);
          if (++tile == tiles) {
            tile = 0;
            ++block;
          }
        }
      });
    }
  }

 private:
  // Moves the sums of pixels that exist together, over those past the ends of rows.
  template <class T>
  void close_gaps(size_t span, size_t from, size_t count, T* sums) const {
    T* to = sums;
    for (size_t s = 0; s < count; ++s) {
      const size_t pixels = first_pixel(span, from + s + 1) - first_pixel(span, from + s);
      if (to != sums + s * span * kBlock) std::copy_n(sums + s * span * kBlock, pixels * kBlock, to);
      to += pixels * kBlock;
    }
  }
};

}  // namespace onebit
