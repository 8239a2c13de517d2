// The public interface of the native library: describe a network op by op, then run it.
//
// Ops, value types, bit order and epilogue steps are those of docs/format.md, by the same names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "onebit/isa.h"
#include "onebit/table.h"

namespace onebit {

// Of one image's map. Floats are stored in row-major order, channels last; bits in words_for(channels) words per pixel.
struct Shape {
  size_t height = 0, width = 0, channels = 0;
};

// float16: IEEE binary16. uint8: only pixels, the network's input.
enum class ValueType { float32, bits, uint8, float16 };

// The real number x becomes a 1 (low) where x < t (sign) or x <= t (step).
enum class Rule { sign, step };

struct Pair {
  size_t vertical = 0, horizontal = 0;
};

struct Convolution {
  Pair kernel{1, 1}, stride{1, 1}, padding{0, 0}, dilation{1, 1};
  size_t groups = 1, out_channels = 1;
};

// A 1x1 convolution after block x block pixels have become the channels of one pixel (space to depth), whose output
// channels then become upscale x upscale pixels (depth to space). out_channels is their number before that.
struct ReshapedConvolution {
  size_t block = 1, upscale = 1, roll = 0, out_channels = 1;
};

struct Pooling {
  Pair kernel{1, 1}, stride{1, 1}, padding{0, 0};
};

// One step of an epilogue; see the functions below for the arguments of each kind.
struct Step {
  enum class Kind { affine, slopes, clamp, add, levels, binarize, threshold, store };
  Kind kind = Kind::store;
  Table<float> first, second;  // per channel: scale, bias; positive, negative; threshold
  Table<int32_t> below;        // per channel
  Table<uint32_t> flip;        // bits, one per channel
  float low = 0, high = 0;
  Rule rule = Rule::sign;
  std::string value;                    // read by add; written by binarize, threshold and store
  ValueType type = ValueType::float32;  // of what store writes; float16 rounds to the nearest even

  static Step affine(Table<float> scale, Table<float> bias);
  static Step slopes(Table<float> positive, Table<float> negative);
  static Step clamp(float low, float high);
  static Step add(std::string input);
  static Step levels(float low, float high, Rule rule);
  static Step binarize(std::string output, Rule rule, Table<float> threshold = {});  // no threshold: 0
  static Step threshold(std::string output, Table<int32_t> below, Table<uint32_t> flip);
  static Step store(std::string output, ValueType type = ValueType::float32);
};

struct Options {
  size_t threads = 1;                   // does not change the results
  std::string isa;                      // empty: ONEBIT_ISA, or else the best that this CPU supports
  bool keep_values = false;             // values do not share memory, so that all can be read after a run
  bool tune = false;                    // select each convolution's kernel by measurement
  size_t max_memory = size_t{1} << 33;  // bytes, in total, that the engine may use
  // Called about ten times a second by the calling thread of Builder::finish and Engine::run. It interrupts them by an
  // exception, after which the engine can run again.
  std::function<void()> poll = nullptr;
};

// Bytes that an engine uses.
struct Memory {
  size_t values = 0;   // of one image; values whose lifetimes do not overlap share memory
  size_t scratch = 0;  // shared by the ops
  size_t weights =
      0;  // weights, tables and geometry in the layout of the kernels, shared by nodes with the same tensors

  size_t total() const { return values + scratch + weights; }
};

// Information about a node. A node whose kernel is "with NODE" is computed together with that node, whose time includes
// its own.
struct NodeInfo {
  std::string name, op, kernel;
  Shape output;  // of the op, before the epilogue
  size_t macs = 0;
};

struct ValueInfo {
  std::string name;
  ValueType type = ValueType::float32;
  Shape shape;
};

// A network, ready to run. It runs one call at a time; a second caller waits. After a fork, parent and child can both
// run it.
class Engine {
 public:
  ~Engine();

  // images: [count][height][width][channels], normalized. results: [count] x the output's shape. If node_ns is given,
  // the time of each node i in ns is added to node_ns[i]. Throws std::invalid_argument if the network takes pixels, and
  // whatever Options::poll throws.
  void run(const float* images, size_t count, float* results, int64_t* node_ns = nullptr);

  // The same for pixels, 0 ... 255, which are normalized to (pixel / 255 - mean) / std if the network takes floats.
  void run(const uint8_t* images, size_t count, float* results, int64_t* node_ns = nullptr);

  Isa isa() const;
  size_t threads() const;
  Shape input_shape() const;
  ValueType input_type() const;
  Shape output_shape() const;
  const std::vector<NodeInfo>& nodes() const;
  const std::vector<ValueInfo>& values() const;  // all but the input
  Memory memory() const;

  // The content of `values()[index]` after the last image of the last run; only with Options::keep_values.
  const void* value(size_t index) const;

 private:
  friend class Builder;
  struct State;
  explicit Engine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Describes a network, one call per node in execution order; `finish` prepares its weights for the kernels of this CPU.
// Where a float32 value is expected, a float16 value may be given as well, except for `finish`.
// All calls check their arguments and throw std::invalid_argument with the node's name and what is wrong. Memory is
// counted before it is touched: the call that exceeds Options::max_memory throws std::invalid_argument as well. Running
// out of memory throws std::bad_alloc.
class Builder {
 public:
  // input_type: float32, or uint8 for a network that starts with an int8_conv2d.
  Builder(const std::string& input, Shape shape, const Table<float>& mean, const Table<float>& std,
          Options options = {}, ValueType input_type = ValueType::float32);
  ~Builder();
  Builder(Builder&&) noexcept;

  // weight: [out_channels][kernel.vertical][kernel.horizontal][words_for(channels / groups)]; pad_value: -1, 0 or 1.
  // With `shuffle` = S, channel g * out_channels / S + i of the sums is channel i * S + g of the result.
  void binary_conv2d(const std::string& name, const std::string& input, const Convolution& geometry, int pad_value,
                     const Table<uint32_t>& weight, const std::vector<Step>& epilogue, size_t shuffle = 1);
  // weight: [out_channels][block][block][words_for(channels)]; pad_value: -1 or 1; tables of the epilogue have
  // out_channels entries, flips words_for(out_channels / upscale^2) words for each position.
  void binary_rpc2d(const std::string& name, const std::string& input, const ReshapedConvolution& geometry,
                    int pad_value, const Table<uint32_t>& weight, const std::vector<Step>& epilogue);
  // weight: [out_channels][kernel.vertical][kernel.horizontal][channels / groups].
  void conv2d(const std::string& name, const std::string& input, const Convolution& geometry,
              const Table<float>& weight, const std::vector<Step>& epilogue);
  // The same with weights -1 and +1, given as bits like those of binary_conv2d.
  void conv2d_bits(const std::string& name, const std::string& input, const Convolution& geometry,
                   const Table<uint32_t>& weight_bits, const std::vector<Step>& epilogue);
  // Of the network's pixels. weight: [out_channels][kernel.vertical][kernel.horizontal][channels / groups], -127 ...
  // 127; zero: [channels], 256ths of a pixel value, 0 ... 65280; scale: [out_channels].
  void int8_conv2d(const std::string& name, const std::string& input, const Convolution& geometry,
                   const Table<int8_t>& weight, const Table<int32_t>& zero, const Table<float>& scale,
                   const std::vector<Step>& epilogue);
  // weight: [out_channels][block][block][channels].
  void rpc2d(const std::string& name, const std::string& input, const ReshapedConvolution& geometry,
             const Table<float>& weight, const std::vector<Step>& epilogue);
  void max_pool2d(const std::string& name, const std::string& input, const Pooling& geometry,
                  const std::vector<Step>& epilogue);
  void avg_pool2d(const std::string& name, const std::string& input, const Pooling& geometry, bool count_include_pad,
                  const std::vector<Step>& epilogue);
  // epilogue: one `store`.
  void bit_max_pool2d(const std::string& name, const std::string& input, const Pooling& geometry,
                      const Table<uint32_t>& flip, const std::vector<Step>& epilogue);
  void elementwise(const std::string& name, const std::string& input, const std::vector<Step>& epilogue);
  void flatten(const std::string& name, const std::string& input, const std::vector<Step>& epilogue);
  void pad_channels(const std::string& name, const std::string& input, size_t before, size_t after,
                    const std::vector<Step>& epilogue);
  // Channel g * channels / groups + i becomes channel i * groups + g.
  void shuffle_channels(const std::string& name, const std::string& input, size_t groups,
                        const std::vector<Step>& epilogue);
  // The channels of 1 ... 16 values of equal height and width, one behind the other; a value may come twice.
  void concat(const std::string& name, const std::vector<std::string>& inputs, const std::vector<Step>& epilogue);

  // Channel k of pixel (i, j) of the result is channel channels[k] of pixel (rows[i], columns[j]), and `fill` where one
  // of these is -1. A table without entries stands for all rows, columns or channels.
  void gather2d(const std::string& name, const std::string& input, const Table<int32_t>& rows,
                const Table<int32_t>& columns, const Table<int32_t>& channels, float fill,
                const std::vector<Step>& epilogue);
  // Channel (c * block + i) * block + j of pixel (h, w) becomes channel c of pixel (h * block + i, w * block + j).
  void depth_to_space(const std::string& name, const std::string& input, size_t block,
                      const std::vector<Step>& epilogue);
  // The inverse of depth_to_space.
  void space_to_depth(const std::string& name, const std::string& input, size_t block,
                      const std::vector<Step>& epilogue);

  // Plans the memory of values and prepares the weights. `output` is a float32 value. The builder is empty afterwards.
  std::unique_ptr<Engine> finish(const std::string& output);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// All kernels of this build.
struct KernelInfo {
  std::string family, name;
  Isa isa;
};
std::vector<KernelInfo> all_kernels();

// The results of Options::tune in this process: layer -> kernel. Layers that are set here are not timed.
std::map<std::string, std::string> tuned_kernels();
void set_tuned_kernels(const std::map<std::string, std::string>& kernels);

}  // namespace onebit
