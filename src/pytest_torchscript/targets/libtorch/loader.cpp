// Loads a saved trace and runs it on inputs that Python wrote, with no Python in the process.
//
//   loader MODEL INPUTS FOLDER THREADS
//
// INPUTS is a file of torch.save: a list with one tuple of arguments for each run. What comes out goes into FOLDER:
// `0.pt`, `1.pt`, ... the outputs, for torch.jit.load, each as the attribute `value`; `at` what was being done, a line
// each; `error` what went wrong.

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using c10::IValue;
using c10::TypePtr;

std::vector<IValue> entries(const IValue& value) {
  if (value.isTuple()) {
    const auto& elements = value.toTupleRef().elements();
    return std::vector<IValue>(elements.begin(), elements.end());
  }
  if (value.isList()) {
    return value.toListRef().vec();
  }
  throw std::runtime_error("a list or a tuple is expected, not " + value.tagKind());
}

// A pickle's lists and dicts hold anything; the interpreter trusts the types that the program declares.
IValue typed(const IValue& value, const TypePtr& type) {
  if (const auto optional = type->cast<c10::OptionalType>()) {
    return value.isNone() ? value : typed(value, optional->getElementType());
  }
  if (const auto tuple = type->cast<c10::TupleType>()) {
    const auto given = entries(value);
    if (given.size() != tuple->elements().size()) {
      throw std::runtime_error("a tuple of another length is expected: " + type->repr_str());
    }
    std::vector<IValue> elements;
    for (size_t index = 0; index < given.size(); ++index) {
      elements.push_back(typed(given[index], tuple->elements()[index]));
    }
    return c10::ivalue::Tuple::create(std::move(elements));
  }
  if (const auto list = type->cast<c10::ListType>()) {
    c10::impl::GenericList elements(list->getElementType());
    for (const auto& entry : entries(value)) {
      elements.push_back(typed(entry, list->getElementType()));
    }
    return elements;
  }
  if (const auto dict = type->cast<c10::DictType>()) {
    c10::impl::GenericDict items(dict->getKeyType(), dict->getValueType());
    for (const auto& item : value.toGenericDict()) {
      items.insert(typed(item.key(), dict->getKeyType()), typed(item.value(), dict->getValueType()));
    }
    return items;
  }
  return value;
}

std::vector<char> read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw std::runtime_error("cannot read " + path);
  }
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void run(const std::string& model, const std::string& inputs, const std::string& folder, std::ofstream& at) {
  c10::NoGradGuard no_grad;
  at << "load" << std::endl;
  auto module = torch::jit::load(model);
  at << "inputs" << std::endl;
  const auto samples = entries(torch::jit::pickle_load(read(inputs)));
  const auto parameters = module.get_method("forward").function().getSchema().arguments();
  for (size_t sample = 0; sample < samples.size(); ++sample) {
    at << "input " << sample + 1 << std::endl;
    const auto given = entries(samples[sample]);
    if (given.size() + 1 != parameters.size()) {
      throw std::runtime_error(
          "the program takes " + std::to_string(parameters.size() - 1) + " inputs, not " + std::to_string(given.size()));
    }
    std::vector<IValue> arguments;
    for (size_t index = 0; index < given.size(); ++index) {
      // The first parameter is the module itself.
      arguments.push_back(typed(given[index], parameters[index + 1].type()));
    }
    const auto output = module.forward(std::move(arguments));
    // As a module's attribute: a pickle of its own cannot hold every dtype for Python. Saved before the next run, which may
    // change what this output shares memory with.
    torch::jit::Module holder("Output");
    holder.register_attribute("value", output.type(), output);
    holder.save(folder + "/" + std::to_string(sample) + ".pt");
  }
  at << "end" << std::endl;
}

} // namespace

int main(int count, char** arguments) {
  if (count != 5) {
    return 2;
  }
  const std::string folder = arguments[3];
  std::ofstream progress(folder + "/at");
  try {
    at::set_num_threads(std::stoi(arguments[4]));
    run(arguments[1], arguments[2], folder, progress);
    return 0;
  } catch (const c10::Error& error) {
    std::ofstream(folder + "/error") << error.what_without_backtrace();
  } catch (const std::exception& error) {
    std::ofstream(folder + "/error") << error.what();
  } catch (...) {
    std::ofstream(folder + "/error") << "an exception of an unknown kind";
  }
  return 1;
}
