// A network under construction: its values, the nodes that write and read them, and the nodes' ops.
#pragma once

#include <any>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/checks.h"
#include "engine/join.h"
#include "engine/state.h"
#include "engine/tuning.h"

namespace onebit {

class Draft {
 public:
  Draft() = default;
  explicit Draft(Options options);

  void set_pixel_table(const float* table) { network_.pixel_table = table; }
  Store& store() { return network_.store; }
  const Kernels& kernels() const { return kernels_; }
  Isa isa() const { return network_.isa; }
  Shape shape(size_t value) const { return network_.values[value].shape; }

  // The network's input; called first.
  void add_input(const std::string& name, ValueType type, Shape shape);
  // A value that the current node writes.
  size_t add_value(const std::string& where, const std::string& name, ValueType type, Shape shape);
  // The value of that name, which the current node reads; it must have this type, or hold floats of either type.
  size_t read(const std::string& where, const std::string& name, ValueType type);
  ValueRef read_floats(const std::string& where, const std::string& name);

  // Checks the steps of an op with a result of this shape, and adds the values that they write. `integers`: the op is a
  // binary convolution. `positions`: the tables of a step have entries for all channels so many times.
  Epilogue epilogue(const std::string& where, const std::vector<Step>& steps, Shape result, bool integers,
                    size_t positions = 1);

  // Calls check(), which throws on failure, once for each `what`, table and number: many nodes may share a tensor.
  template <class T, class Check>
  void check_once(const char* what, const Table<T>& table, size_t number, Check check) {
    std::any& owner = checked_[Key(what, table, number)];
    if (owner.has_value()) return;
    check();
    owner = table;
  }

  void add_node(const std::string& name, const char* op, Shape result, std::unique_ptr<Op> made);

  // A layer for which there are several kernels.
  struct Layer {
    std::string name;
    const char* op;
    std::string text;  // tells it from other layers of the same input shape
    size_t input;
    Shape result;
    size_t positions;  // as for `epilogue`
  };
  // Adds a node with the op that make(input, context, epilogue) returns. Its kernel is that of `chosen` or, with
  // Options::tune, the fastest of the table. `family`: the member of Kernels for that table.
  template <class Kernel, class Table, class Make>
  void add_layer(const Layer& layer, const Kernel* Kernels::* family, const Table& table, Kernels chosen,
                 Epilogue steps, Make make) {
    if (network_.options.tune) {
      const auto candidates = candidates_for(network_.isa, table);
      std::vector<std::string> names;
      for (const Kernel* kernel : candidates) names.push_back(kernel->name);
      const auto make_alone = [&](size_t candidate, Store& store) {
        chosen.*family = candidates[candidate];
        return make(0, BuildContext{chosen, store},
                    Epilogue(*kernels_.epilogue, store, {Step::store("result")}, {ValueRef{1}}, layer.result.channels,
                             layer.positions));
      };
      chosen.*family = candidates[fastest(problem(layer), names, make_alone, poll_)];
    }
    add_node(layer.name, layer.op, layer.result, make(layer.input, BuildContext{chosen, store()}, std::move(steps)));
  }

  // Adds a pool of floats, whose op make(map, epilogue) returns.
  template <class Make>
  void add_pool(const std::string& name, const char* op, const std::string& input, const Pooling& geometry,
                const std::vector<Step>& steps, Make make) {
    const ValueRef value = read_floats(name, input);
    const PooledMap map{value, shape(value.index), geometry};
    check_pooling(name, geometry, map.shape);
    const Pair size = pooling_output(geometry, map.shape);
    const Shape result{size.vertical, size.horizontal, map.shape.channels};
    Epilogue behind = epilogue(name, steps, result, false);
    pools_.push_back({node(), map});
    add_node(name, op, result, make(map, std::move(behind)));
  }

  // Ends the description; the draft is empty afterwards.
  Network finish(const std::string& output);

 private:
  size_t node() const { return network_.nodes.size(); }  // the current one
  void check_tables(const std::string& where, const Step& step, bool integers, size_t channels, size_t positions);
  TuningProblem problem(const Layer& layer) const;

  Network network_;
  Kernels kernels_{};
  Poll poll_;
  std::unordered_map<std::string, size_t> index_;  // of the values
  NodeWires current_;                              // of the current node
  Wires wires_;
  std::vector<FloatPool> pools_;
  std::map<Key, std::any> checked_;
};

}  // namespace onebit
