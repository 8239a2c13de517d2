// Python module onebit._core: checks arguments, releases the GIL, calls the library.
//
// Strings, lists and dicts are taken as Python objects and converted here: nanobind's own type casters allocate in
// noexcept functions, where running out of memory would terminate the process.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>

#include "onebit/engine.h"
#include "onebit/limits.h"

namespace nb = nanobind;
using namespace nb::literals;
using onebit::Builder;
using onebit::Engine;
using onebit::Step;
using onebit::Table;

namespace {

template <class T>
using Array = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <class T>
using Images = nb::ndarray<const T, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

using Pair = nb::typed<nb::tuple, int, int>;
using Shape = nb::typed<nb::tuple, int, int, int>;
using Steps = nb::typed<nb::list, Step>;

// The elements of an array, which is kept alive, not copied.
template <class T>
Table<T> table(const Array<T>& array) {
  const auto release = [](Array<T>* kept) {
    nb::gil_scoped_acquire locked;
    delete kept;
  };
  return Table<T>(array.data(), array.size(), std::shared_ptr<Array<T>>(new Array<T>(array), release));
}

// A NumPy array that owns its memory.
template <class T>
struct Owned {
  explicit Owned(size_t count) : Owned(std::unique_ptr<T[]>(new T[count])) {}

  auto array(std::initializer_list<size_t> shape) { return nb::ndarray<nb::numpy, T>(data, shape, owner); }

  T* data;
  nb::capsule owner;

 private:
  explicit Owned(std::unique_ptr<T[]> fresh)
      : data(fresh.get()), owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); }) {
    fresh.release();
  }
};

// Throws KeyboardInterrupt, or whatever else a Python signal handler raises. Handlers run in the main thread only.
void check_signals() {
  const nb::gil_scoped_acquire locked;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

std::string text(const nb::str& s) {
  Py_ssize_t size;
  const char* utf8 = PyUnicode_AsUTF8AndSize(s.ptr(), &size);
  if (utf8) return std::string(utf8, static_cast<size_t>(size));
  if (PyErr_ExceptionMatches(PyExc_MemoryError)) throw nb::python_error();
  PyErr_Clear();
  throw std::invalid_argument("a name is no valid Unicode: it holds half of a surrogate pair");
}

nb::str text(const std::string& s) { return nb::str(s.data(), s.size()); }

std::vector<std::string> texts(const nb::typed<nb::list, nb::str>& all) {
  std::vector<std::string> out;
  for (const nb::handle item : all) {
    if (!nb::isinstance<nb::str>(item)) throw nb::type_error("inputs must be a list of str");
    out.push_back(text(nb::borrow<nb::str>(item)));
  }
  return out;
}

std::vector<Step> steps(const Steps& all) {
  std::vector<Step> out;
  for (const nb::handle item : all) {
    if (!nb::isinstance<Step>(item)) throw nb::type_error("epilogue must be a list of Step");
    out.push_back(*nb::inst_ptr<Step>(item));
  }
  return out;
}

template <size_t count>
std::array<size_t, count> sizes(const nb::tuple& numbers, const char* what) {
  std::array<size_t, count> out;
  bool fits = nb::len(numbers) == count;
  for (size_t i = 0; i < count && fits; ++i) fits = nb::try_cast(numbers[i], out[i]);
  if (!fits) throw std::invalid_argument(std::string(what) + ", integers >= 0");
  return out;
}

Shape as_tuple(onebit::Shape s) { return Shape(nb::make_tuple(s.height, s.width, s.channels)); }

onebit::Shape as_shape(const Shape& sides) {
  const auto [height, width, channels] = sizes<3>(sides, "shape must be (height, width, channels)");
  return {height, width, channels};
}

onebit::Rule rule(const nb::str& s) {
  const std::string name = text(s);
  if (name == "sign") return onebit::Rule::sign;
  if (name == "step") return onebit::Rule::step;
  throw std::invalid_argument("rule '" + name + "' is neither 'sign' nor 'step'");
}

onebit::ValueType value_type(const nb::str& s) {
  const std::string name = text(s);
  if (name == "float32") return onebit::ValueType::float32;
  if (name == "float16") return onebit::ValueType::float16;
  if (name == "uint8") return onebit::ValueType::uint8;
  throw std::invalid_argument("type '" + name + "' is none of 'float32', 'float16', 'uint8'");
}

onebit::Pair pair(const Pair& sides) {
  const auto [vertical, horizontal] = sizes<2>(sides, "a pair must be (vertical, horizontal)");
  return {vertical, horizontal};
}

onebit::Pooling pooling(const Pair& kernel, const Pair& stride, const Pair& padding) {
  return {pair(kernel), pair(stride), pair(padding)};
}

// The kernel size and the output channels are read from the shape of the weight, [O, KH, KW, depth].
template <class T>
onebit::Convolution convolution(const Array<T>& weight, const Pair& stride, const Pair& padding, const Pair& dilation,
                                size_t groups) {
  if (weight.ndim() != 4) throw std::invalid_argument("weight must be [out channels, height, width, depth]");
  return {{weight.shape(1), weight.shape(2)}, pair(stride), pair(padding), pair(dilation), groups, weight.shape(0)};
}

template <class T>
onebit::ReshapedConvolution reshaped(const Array<T>& weight, size_t block, size_t upscale, size_t roll) {
  if (weight.ndim() != 4 || weight.shape(1) != block || weight.shape(2) != block) {
    throw std::invalid_argument("weight must be [out channels, block, block, depth]");
  }
  return {block, upscale, roll, weight.shape(0)};
}

// Results of `images`, and the time of every node in ns.
using Results = nb::typed<nb::tuple, nb::ndarray<nb::numpy, float>, nb::ndarray<nb::numpy, int64_t>>;

template <class T>
Results run(Engine& engine, const Images<T>& images) {
  const onebit::Shape in = engine.input_shape(), out = engine.output_shape();
  if (images.shape(1) != in.height || images.shape(2) != in.width || images.shape(3) != in.channels) {
    throw std::invalid_argument("images must be [count, " + std::to_string(in.height) + ", " +
                                std::to_string(in.width) + ", " + std::to_string(in.channels) + "]");
  }
  const size_t count = images.shape(0);
  Owned<float> results(count * out.height * out.width * out.channels);
  Owned<int64_t> node_ns(engine.nodes().size());
  std::fill_n(node_ns.data, engine.nodes().size(), 0);
  {
    nb::gil_scoped_release unlocked;
    engine.run(images.data(), count, results.data, node_ns.data);
  }
  return Results(nb::make_tuple(results.array({count, out.height, out.width, out.channels}),
                                node_ns.array({engine.nodes().size()})));
}

using Values = nb::typed<nb::dict, nb::str, nb::ndarray<nb::numpy>>;

Values values(const Engine& engine) {
  nb::dict all;
  for (size_t i = 0; i < engine.values().size(); ++i) {
    const onebit::ValueInfo& value = engine.values()[i];
    const auto copy = [&](auto type, size_t channels) {
      using T = decltype(type);
      Owned<T> copied(value.shape.height * value.shape.width * channels);
      std::copy_n(static_cast<const T*>(engine.value(i)), value.shape.height * value.shape.width * channels,
                  copied.data);
      all[text(value.name)] = copied.array({1, value.shape.height, value.shape.width, channels});
    };
    if (value.type == onebit::ValueType::float32) {
      copy(float{}, value.shape.channels);
    } else if (value.type == onebit::ValueType::float16) {
      copy(uint16_t{}, value.shape.channels);
    } else {
      copy(uint32_t{}, (value.shape.channels + 31) / 32);
    }
  }
  return Values(all);
}

using Nodes = nb::typed<nb::list, nb::typed<nb::tuple, nb::str, nb::str, Shape, nb::str, int>>;

Nodes nodes(const Engine& engine) {
  nb::list rows;
  for (const onebit::NodeInfo& node : engine.nodes()) {
    rows.append(nb::make_tuple(text(node.name), text(node.op), as_tuple(node.output), text(node.kernel), node.macs));
  }
  return Nodes(rows);
}

using Memory = nb::typed<nb::dict, nb::str, int>;

Memory memory(const Engine& engine) {
  const onebit::Memory sizes = engine.memory();
  nb::dict bytes;
  bytes["values"] = sizes.values;
  bytes["scratch"] = sizes.scratch;
  bytes["weights"] = sizes.weights;
  return Memory(bytes);
}

using Isas = nb::typed<nb::list, nb::typed<nb::tuple, nb::str, bool, bool, bool>>;

Isas isas() {
  nb::list rows;
  const onebit::Isa best = onebit::choose_isa();
  for (onebit::Isa isa : onebit::kIsas) {
    rows.append(nb::make_tuple(onebit::name(isa), onebit::built_for(isa), onebit::cpu_has(isa), isa == best));
  }
  return Isas(rows);
}

using Kernels = nb::typed<nb::list, nb::typed<nb::tuple, nb::str, nb::str, nb::str>>;

Kernels kernels() {
  nb::list rows;
  for (const onebit::KernelInfo& kernel : onebit::all_kernels()) {
    rows.append(nb::make_tuple(text(kernel.family), text(kernel.name), onebit::name(kernel.isa)));
  }
  return Kernels(rows);
}

using Rates = nb::typed<nb::dict, nb::str, double>;

Rates limits(const nb::str& isa, size_t threads) {
  onebit::Limits found;
  const std::string name = text(isa);
  {
    nb::gil_scoped_release unlocked;
    found = onebit::measure_limits(onebit::choose_isa(name), threads);
  }
  nb::dict rates;
  rates["binary"] = found.binary;
  rates["float32"] = found.float32;
  rates["int8"] = found.int8;
  return Rates(rates);
}

double time_binary_kernel(const nb::str& isa, const Shape& shape, size_t out_channels, size_t side, size_t repeats) {
  const onebit::Shape input = as_shape(shape);
  const std::string name = text(isa);
  nb::gil_scoped_release unlocked;
  return onebit::time_binary_kernel(onebit::choose_isa(name), input, out_channels, side, repeats);
}

using Choices = nb::typed<nb::dict, nb::str, nb::str>;

Choices tuned_kernels() {
  nb::dict all;
  for (const auto& [layer, kernel] : onebit::tuned_kernels()) all[text(layer)] = text(kernel);
  return Choices(all);
}

void set_tuned_kernels(const Choices& choices) {
  std::map<std::string, std::string> all;
  for (const auto [layer, kernel] : choices) {
    if (!nb::isinstance<nb::str>(layer) || !nb::isinstance<nb::str>(kernel)) {
      throw nb::type_error("kernels must be a dict of str to str");
    }
    all[text(nb::borrow<nb::str>(layer))] = text(nb::borrow<nb::str>(kernel));
  }
  onebit::set_tuned_kernels(all);
}

nb::str cpu_name() { return text(onebit::cpu_name()); }

void bind_steps(nb::module_& m) {
  nb::class_<Step>(m, "Step", "One step of an epilogue; see docs/format.md.")
      .def_static(
          "affine", [](Array<float> scale, Array<float> bias) { return Step::affine(table(scale), table(bias)); },
          "scale"_a, "bias"_a)
      .def_static(
          "slopes",
          [](Array<float> positive, Array<float> negative) { return Step::slopes(table(positive), table(negative)); },
          "positive"_a, "negative"_a)
      .def_static("clamp", &Step::clamp, "low"_a, "high"_a)
      .def_static(
          "add", [](const nb::str& input) { return Step::add(text(input)); }, "input"_a)
      .def_static(
          "levels", [](float low, float high, const nb::str& r) { return Step::levels(low, high, rule(r)); }, "low"_a,
          "high"_a, "rule"_a)
      .def_static(
          "binarize",
          [](const nb::str& output, const nb::str& r, std::optional<Array<float>> threshold) {
            return Step::binarize(text(output), rule(r), threshold ? table(*threshold) : Table<float>{});
          },
          "output"_a, "rule"_a, "threshold"_a = nb::none())
      .def_static(
          "threshold",
          [](const nb::str& output, Array<int32_t> below, Array<uint32_t> flip) {
            return Step::threshold(text(output), table(below), table(flip));
          },
          "output"_a, "below"_a, "flip"_a)
      .def_static(
          "store",
          [](const nb::str& output, const nb::str& type) { return Step::store(text(output), value_type(type)); },
          "output"_a, "type"_a = "float32");
}

void bind_builder(nb::module_& m) {
  using Text = const nb::str&;
  nb::class_<Builder>(m, "Builder",
                      "Describes a network, one call per node in execution order; finish() returns the engine.")
      .def(
          "__init__",
          [](Builder* self, Text input, const Shape& shape, const Array<float>& mean, const Array<float>& std,
             size_t threads, Text isa, bool keep_values, bool tune, Text input_type, size_t max_memory) {
            const onebit::Options options{.threads = threads,
                                          .isa = text(isa),
                                          .keep_values = keep_values,
                                          .tune = tune,
                                          .max_memory = max_memory,
                                          .poll = check_signals};
            new (self) Builder(text(input), as_shape(shape), table(mean), table(std), options, value_type(input_type));
          },
          "input"_a, "shape"_a, "mean"_a, "std"_a, "threads"_a = 1, "isa"_a = "", "keep_values"_a = false,
          "tune"_a = false, "input_type"_a = "float32", "max_memory"_a = onebit::Options{}.max_memory)
      .def(
          "binary_conv2d",
          [](Builder& b, Text name, Text input, Array<uint32_t> weight, const Pair& stride, const Pair& padding,
             const Pair& dilation, size_t groups, int pad_value, const Steps& epilogue, size_t shuffle) {
            b.binary_conv2d(text(name), text(input), convolution(weight, stride, padding, dilation, groups), pad_value,
                            table(weight), steps(epilogue), shuffle);
          },
          "name"_a, "input"_a, "weight"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a, "pad_value"_a,
          "epilogue"_a, "shuffle"_a = 1)
      .def(
          "binary_rpc2d",
          [](Builder& b, Text name, Text input, Array<uint32_t> weight, size_t block, size_t upscale, size_t roll,
             int pad_value, const Steps& epilogue) {
            b.binary_rpc2d(text(name), text(input), reshaped(weight, block, upscale, roll), pad_value, table(weight),
                           steps(epilogue));
          },
          "name"_a, "input"_a, "weight"_a, "block"_a, "upscale"_a, "roll"_a, "pad_value"_a, "epilogue"_a)
      .def(
          "rpc2d",
          [](Builder& b, Text name, Text input, Array<float> weight, size_t block, size_t upscale, size_t roll,
             const Steps& epilogue) {
            b.rpc2d(text(name), text(input), reshaped(weight, block, upscale, roll), table(weight), steps(epilogue));
          },
          "name"_a, "input"_a, "weight"_a, "block"_a, "upscale"_a, "roll"_a, "epilogue"_a)
      .def(
          "conv2d",
          [](Builder& b, Text name, Text input, Array<float> weight, const Pair& stride, const Pair& padding,
             const Pair& dilation, size_t groups, const Steps& epilogue) {
            b.conv2d(text(name), text(input), convolution(weight, stride, padding, dilation, groups), table(weight),
                     steps(epilogue));
          },
          "name"_a, "input"_a, "weight"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a, "epilogue"_a)
      .def(
          "int8_conv2d",
          [](Builder& b, Text name, Text input, Array<int8_t> weight, Array<int32_t> zero, Array<float> scale,
             const Pair& stride, const Pair& padding, const Pair& dilation, size_t groups, const Steps& epilogue) {
            b.int8_conv2d(text(name), text(input), convolution(weight, stride, padding, dilation, groups),
                          table(weight), table(zero), table(scale), steps(epilogue));
          },
          "name"_a, "input"_a, "weight"_a, "zero"_a, "scale"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a,
          "epilogue"_a)
      .def(
          "conv2d_bits",
          [](Builder& b, Text name, Text input, Array<uint32_t> weight_bits, const Pair& stride, const Pair& padding,
             const Pair& dilation, size_t groups, const Steps& epilogue) {
            b.conv2d_bits(text(name), text(input), convolution(weight_bits, stride, padding, dilation, groups),
                          table(weight_bits), steps(epilogue));
          },
          "name"_a, "input"_a, "weight_bits"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a, "epilogue"_a)
      .def(
          "max_pool2d",
          [](Builder& b, Text name, Text input, const Pair& kernel, const Pair& stride, const Pair& padding,
             const Steps& epilogue) {
            b.max_pool2d(text(name), text(input), pooling(kernel, stride, padding), steps(epilogue));
          },
          "name"_a, "input"_a, "kernel"_a, "stride"_a, "padding"_a, "epilogue"_a)
      .def(
          "avg_pool2d",
          [](Builder& b, Text name, Text input, const Pair& kernel, const Pair& stride, const Pair& padding,
             bool count_include_pad, const Steps& epilogue) {
            b.avg_pool2d(text(name), text(input), pooling(kernel, stride, padding), count_include_pad, steps(epilogue));
          },
          "name"_a, "input"_a, "kernel"_a, "stride"_a, "padding"_a, "count_include_pad"_a, "epilogue"_a)
      .def(
          "bit_max_pool2d",
          [](Builder& b, Text name, Text input, Array<uint32_t> flip, const Pair& kernel, const Pair& stride,
             const Pair& padding, const Steps& epilogue) {
            b.bit_max_pool2d(text(name), text(input), pooling(kernel, stride, padding), table(flip), steps(epilogue));
          },
          "name"_a, "input"_a, "flip"_a, "kernel"_a, "stride"_a, "padding"_a, "epilogue"_a)
      .def(
          "elementwise",
          [](Builder& b, Text name, Text input, const Steps& epilogue) {
            b.elementwise(text(name), text(input), steps(epilogue));
          },
          "name"_a, "input"_a, "epilogue"_a)
      .def(
          "flatten",
          [](Builder& b, Text name, Text input, const Steps& epilogue) {
            b.flatten(text(name), text(input), steps(epilogue));
          },
          "name"_a, "input"_a, "epilogue"_a)
      .def(
          "pad_channels",
          [](Builder& b, Text name, Text input, size_t before, size_t after, const Steps& epilogue) {
            b.pad_channels(text(name), text(input), before, after, steps(epilogue));
          },
          "name"_a, "input"_a, "before"_a, "after"_a, "epilogue"_a)
      .def(
          "shuffle_channels",
          [](Builder& b, Text name, Text input, size_t groups, const Steps& epilogue) {
            b.shuffle_channels(text(name), text(input), groups, steps(epilogue));
          },
          "name"_a, "input"_a, "groups"_a, "epilogue"_a)
      .def(
          "concat",
          [](Builder& b, Text name, const nb::typed<nb::list, nb::str>& inputs, const Steps& epilogue) {
            b.concat(text(name), texts(inputs), steps(epilogue));
          },
          "name"_a, "inputs"_a, "epilogue"_a)
      .def(
          "gather2d",
          [](Builder& b, Text name, Text input, Array<int32_t> rows, Array<int32_t> columns, Array<int32_t> channels,
             float fill, const Steps& epilogue) {
            b.gather2d(text(name), text(input), table(rows), table(columns), table(channels), fill, steps(epilogue));
          },
          "name"_a, "input"_a, "rows"_a, "columns"_a, "channels"_a, "fill"_a, "epilogue"_a)
      .def(
          "depth_to_space",
          [](Builder& b, Text name, Text input, size_t block, const Steps& epilogue) {
            b.depth_to_space(text(name), text(input), block, steps(epilogue));
          },
          "name"_a, "input"_a, "block"_a, "epilogue"_a)
      .def(
          "space_to_depth",
          [](Builder& b, Text name, Text input, size_t block, const Steps& epilogue) {
            b.space_to_depth(text(name), text(input), block, steps(epilogue));
          },
          "name"_a, "input"_a, "block"_a, "epilogue"_a)
      .def(
          "finish",
          [](Builder& b, Text output) {
            const std::string name = text(output);
            nb::gil_scoped_release unlocked;
            return b.finish(name);
          },
          "output"_a, "Plans the memory of values, prepares the weights, and returns the engine.");
}

void bind_engine(nb::module_& m) {
  nb::class_<Engine>(m, "Engine", "A network, ready to run.")
      .def("run", &run<float>, "images"_a.noconvert(),
           "(results, time of each node in ns) for normalized float32 NHWC images.")
      .def("run", &run<uint8_t>, "images"_a.noconvert(), "(results, time of each node in ns) for uint8 NHWC pixels.")
      .def("nodes", &nodes, "(name, op, output shape, kernel, multiply-accumulates) of every node.")
      .def("values", &values, "Values of the last image by name; float16 as uint16. Requires keep_values.")
      .def_prop_ro("isa", [](const Engine& e) { return onebit::name(e.isa()); })
      .def_prop_ro("threads", &Engine::threads)
      .def_prop_ro("memory", &memory, "Bytes of 'values', of 'scratch', and of prepared 'weights' and tables.");
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "The C++ core of onebit.";
  bind_steps(m);
  bind_builder(m);
  bind_engine(m);
  m.def("isas", &isas, "(name, built, supported by this CPU, chosen) of every instruction set, worst first.");
  m.def("kernels", &kernels, "(family, name, instruction set) of every kernel of this build, best first.");
  m.def("limits", &limits, "isa"_a, "threads"_a = 1,
        "Peak multiply-accumulates per second of so many threads together, by type; 0 if not known.");
  m.def("time_binary_kernel", &time_binary_kernel, "isa"_a, "shape"_a, "out_channels"_a, "side"_a, "repeats"_a,
        "Least time, in seconds, of the kernel of a binary convolution alone.");
  m.def("tuned_kernels", &tuned_kernels, "The results of tuning in this process: layer -> kernel.");
  m.def("set_tuned_kernels", &set_tuned_kernels, "kernels"_a,
        "Adds results of tuning; these layers are not timed again.");
  m.def("cpu_name", &cpu_name, "The CPU's own description of itself.");
}
