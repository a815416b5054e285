"""Compile a kernel into an object file that needs no Numba: its code, and an entry that Python calls.

A kernel may have a second entry, which other compiled code calls by address (:func:`compile_kernel`).

The entry checks the arguments, because nothing behind it does: type, number of dimensions, dtype, byte order
and contiguity of each array, and whether an array to write is writeable and aligned. A kernel with several
signatures has one entry, which takes the first that fits and raises TypeError if none does. The
interpreter's lock is released while the kernel runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numba
from llvmlite import binding, ir
from numba.core import cgutils, compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime import nrtdynmod
from numba.np.arrayobj import make_array, populate_array

from proofcompute.arithmetic.backends.numba.codegen.allocation import RUNTIME
from proofcompute.arithmetic.backends.numba.codegen.fields import Fields
from proofcompute.arithmetic.backends.numba.codegen.signatures import (
    ArrayType,
    Parameter,
    Signature,
    boolean,
    int64,
    real,
    void,
)
from proofcompute.arithmetic.backends.numba.codegen.target import target
from proofcompute.arithmetic.backends.numba.codegen.unrun import unrun
from proofcompute.errors import DeviceError

__all__ = ["compile_kernel"]

_BYTE: Final = ir.IntType(8)
_BIT: Final = ir.IntType(1)
_INT: Final = ir.IntType(32)
_LONG: Final = ir.IntType(64)
_OBJECT: Final = _BYTE.as_pointer()
_BLOCK: Final = "{i64, i8*, i8*, i8*, i64}"
"""The header of :mod:`.allocation`, as Numba writes it."""
_ARRAY, _TYPE_ERROR, _RUNTIME_ERROR, _NONE = range(4)
"""Indices in ``machine._SELF``."""
_LEVEL: Final = 2
"""Optimisation level of the entry; the kernel's code was optimised before."""


@global_compiler_lock
def compile_kernel(
    function: Callable[..., Any],
    signatures: Sequence[Signature],
    options: dict[str, Any],
    symbol: str,
    *,
    shared: bool = False,
    plain: str | None = None,
) -> tuple[bytes, list[str]]:
    """Return the object file with the entry ``symbol``, and the symbols that it needs.

    If ``shared``, a linker can make it a part of a shared library; else it is for LLVM's loader.

    ``plain`` is the symbol of an entry for compiled code, ``char plain(int64_t first, int64_t last, const
    int64_t *words, int64_t row)``: the kernel's parameters are two numbers and then arrays of one axis, of
    which each has three words: where it begins, by how many bytes more with each row, and its elements. It
    returns 1, or 0 if the kernel fails or returns False. Nothing is checked.

    Raises DeviceError if Numba cannot compile, lays its memory blocks out otherwise than :mod:`.allocation`,
    or generates code for another processor than :func:`.target.target` names.
    """
    if numba.config.DISABLE_JIT:
        raise DeviceError("Numba cannot compile here (NUMBA_DISABLE_JIT is set?); use --device numpy")
    if str(nrtdynmod._meminfo_struct_type).replace('"', "") != _BLOCK:
        raise DeviceError(f"Numba {numba.__version__} is of an unknown kind; use --device numpy")
    context = cpu_target.target_context
    if context.codegen().magic_tuple() != target():
        raise DeviceError(
            "Numba now generates code for another processor than when the first kernel was made; set "
            "NUMBA_CPU_NAME and NUMBA_CPU_FEATURES before proofcompute is used"
        )
    flags = compiler.Flags()
    cpu_target.options.parse_as_flags(flags, {"nopython": True, **options})
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.no_compile = True
    compiled = []
    with unrun(context):
        for signature in signatures:
            types = signature.numba()
            compiled.append(
                compiler.compile_extra(
                    cpu_target.typing_context, context, function, types.args, types.return_type, flags, {}
                )
            )
        for result in compiled:
            result.library._get_module_for_linking()  # links and optimises it, so that is for this block too
    module = context.create_module(symbol)
    _Entry(context, module, symbol, function.__name__).build(signatures, compiled)
    if plain is not None:
        _plain_entry(context, module, plain, signatures[0], compiled[0].fndesc)
    linked = binding.parse_assembly(cgutils.normalize_ir_text(str(module)))
    linked.link_in(binding.parse_assembly(RUNTIME))
    machine = context.codegen()._tm
    _run(linked, machine, _LEVEL)
    for result in compiled:
        linked.link_in(result.library._get_module_for_linking(), preserve=True)
    for part in (*linked.functions, *linked.global_variables):
        if not part.is_declaration and part.name not in (symbol, plain):
            part.linkage = "internal"
    _run(linked, machine, None)
    linked.verify()
    needed = [
        f.name
        for f in (*linked.functions, *linked.global_variables)
        if f.is_declaration and not f.name.startswith("llvm.")
    ]
    return (_for_libraries() if shared else machine).emit_object(linked), needed


def _for_libraries() -> Any:
    """Return LLVM's target machine for position-independent code that the system's loader links."""
    triple, cpu, features = target()
    made = binding.Target.from_triple(triple)
    return made.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small")


def _run(module: Any, machine: Any, level: int | None) -> None:
    """Optimise a module; if ``level`` is None, only inline what must be and drop what is unused."""
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(level or 0))
    if level is None:
        passes = binding.create_new_module_pass_manager()
        passes.add_always_inliner_pass()
        passes.add_global_dead_code_eliminate_pass()
    else:
        passes = builder.getModulePassManager()
    passes.run(module, builder)


def _plain_entry(context: Any, module: Any, symbol: str, signature: Signature, described: Any) -> None:
    """Emit the entry for compiled code."""
    kind = ir.FunctionType(_BYTE, [_LONG, _LONG, _LONG.as_pointer(), _LONG])
    function = ir.Function(module, kind, symbol)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    first, last, words, row = function.args
    values = [first, last]
    for i, parameter in enumerate(signature.parameters[2:]):
        start, step, size = (b.load(b.gep(words, [_LONG(3 * i + j)])) for j in range(3))
        array = make_array(real(parameter))(context, b)
        width = parameter.dtype.itemsize
        data = b.inttoptr(b.add(start, b.mul(step, row)), array.data.type)
        populate_array(array, data, [size], [_LONG(width)], width, None)
        values.append(array._getvalue())
    convention = context.call_conv
    callee = module.globals[described.llvm_func_name]
    status, result = convention.call_function(
        b, callee, described.restype, described.argtypes, values, attrs=("noinline",)
    )
    good = b.and_(b.not_(status.is_error), b.trunc(result, _BIT))
    b.ret(b.zext(good, _BYTE))


class _Entry:
    """The entry function ``PyObject *symbol(PyObject *self, PyObject *const *args, Py_ssize_t n)``.

    Its ``self`` is ``machine._SELF``.
    """

    def __init__(self, context: Any, module: Any, symbol: str, name: str) -> None:
        self._context, self._module, self._name = context, module, name
        kind = ir.FunctionType(_OBJECT, [_OBJECT, _OBJECT.as_pointer(), _LONG])
        self._function = ir.Function(module, kind, symbol)
        self._b = ir.IRBuilder(self._function.append_basic_block("entry"))

    def build(self, signatures: Sequence[Signature], compiled: Sequence[Any]) -> None:
        """Emit the function."""
        self._null = self._function.append_basic_block("null")
        self._array_type = self._bound(_ARRAY)
        for signature, result in zip(signatures, compiled, strict=True):
            other = self._function.append_basic_block("other")
            objects = self._objects(signature.parameters, other)
            self._check(signature.parameters, objects, other)
            self._call(signature, objects, result.fndesc)
            self._b.position_at_end(other)
        self._raise(_TYPE_ERROR, "the arguments are not of the types that it was compiled for")
        ir.IRBuilder(self._null).ret(ir.Constant(_OBJECT, None))

    def _objects(self, parameters: Sequence[Parameter], other: Any) -> list[Any]:
        _, args, count = self._function.args
        self._go_on(self._b.icmp_unsigned("==", count, _LONG(len(parameters))), other)
        return [self._b.load(self._b.gep(args, [_LONG(i)])) for i in range(len(parameters))]

    def _go_on(self, condition: Any, other: Any) -> None:
        """Go on in a new block if the condition holds, else branch to ``other``."""
        block = self._function.append_basic_block()
        self._b.cbranch(condition, block, other)
        self._b.position_at_end(block)

    def _field(self, thing: Any, offset: int, kind: Any) -> Any:
        place = self._b.gep(thing, [_LONG(offset)])
        return self._b.load(self._b.bitcast(place, kind.as_pointer()))

    def _check(self, parameters: Sequence[Parameter], objects: Sequence[Any], other: Any) -> None:
        b = self._b
        for parameter, thing in zip(parameters, objects, strict=True):
            if not isinstance(parameter, ArrayType):
                continue
            kind = self._field(thing, Fields.TYPE, _OBJECT)
            below = self._outside("PyType_IsSubtype", _INT, [_OBJECT, _OBJECT], [kind, self._array_type])
            self._go_on(b.icmp_signed("!=", below, _INT(0)), other)
            # opened rows are aligned before they come here (trace.split_rows); other arrays need not be
            wanted = Fields.CONTIGUOUS | (Fields.ALIGNED | Fields.WRITEABLE if parameter.written else 0)
            flags = b.and_(self._field(thing, Fields.FLAGS, _INT), _INT(wanted))
            dtype = self._field(thing, Fields.DTYPE, _OBJECT)
            order = self._field(dtype, Fields.ORDER, _BYTE)
            # a dtype may also say "<", the native order, since this backend needs a little-endian machine
            native = [b.icmp_unsigned("==", order, _BYTE(ord(letter))) for letter in "=|<"]
            element = parameter.dtype
            tests = [
                b.icmp_signed("==", self._field(thing, Fields.DIMENSIONS, _INT), _INT(parameter.dimensions)),
                b.icmp_unsigned("==", flags, _INT(wanted)),
                b.icmp_unsigned("==", self._field(dtype, Fields.KIND, _BYTE), _BYTE(ord(element.kind))),
                b.icmp_signed("==", self._field(dtype, Fields.SIZE, _LONG), _LONG(element.itemsize)),
                b.or_(b.or_(native[0], native[1]), native[2]),
            ]
            good = tests[0]
            for test in tests[1:]:
                good = b.and_(good, test)
            self._go_on(good, other)

    def _outside(self, name: str, returns: Any, kinds: Sequence[Any], values: Sequence[Any]) -> Any:
        """Emit a call of Python's C API."""
        function = cgutils.get_or_insert_function(self._module, ir.FunctionType(returns, kinds), name)
        return self._b.call(function, values)

    def _bound(self, i: int) -> Any:
        """Return an object that the entry is bound to."""
        return self._outside("PyTuple_GetItem", _OBJECT, [_OBJECT, _LONG], [self._function.args[0], _LONG(i)])

    def _raise(self, error: int, text: str) -> None:
        message = self._context.insert_const_string(self._module, f"{self._name}: {text}")
        values = [self._bound(error), message]
        self._outside("PyErr_SetString", ir.VoidType(), [_OBJECT, _OBJECT], values)
        self._b.branch(self._null)

    def _value(self, parameter: Parameter, thing: Any) -> Any:
        """Convert an argument to the form that Numba's code takes."""
        b = self._b
        if isinstance(parameter, ArrayType):
            return self._array(parameter, thing)
        if parameter is boolean:
            truth = self._outside("PyObject_IsTrue", _INT, [_OBJECT], [thing])
            self._go_on(b.icmp_signed(">=", truth, _INT(0)), self._null)
            return b.trunc(truth, _BIT)
        if parameter is int64:
            value = self._outside("PyLong_AsLongLong", _LONG, [_OBJECT], [thing])
            doubt = b.icmp_signed("==", value, _LONG(-1))
        else:
            wide = self._outside("PyFloat_AsDouble", ir.DoubleType(), [_OBJECT], [thing])
            doubt = b.fcmp_ordered("==", wide, ir.DoubleType()(-1.0))
            value = b.fptrunc(wide, ir.FloatType())
        look, on = (self._function.append_basic_block() for _ in range(2))
        b.cbranch(doubt, look, on)
        b.position_at_end(look)
        error = self._outside("PyErr_Occurred", _OBJECT, [], [])
        b.cbranch(b.icmp_unsigned("==", error, ir.Constant(_OBJECT, None)), on, self._null)
        b.position_at_end(on)
        return value

    def _array(self, parameter: ArrayType, thing: Any) -> Any:
        kind = real(parameter)
        array = make_array(kind)(self._context, self._b)
        dimensions = self._field(thing, Fields.SHAPE, _LONG.as_pointer())
        shape = [self._b.load(self._b.gep(dimensions, [_LONG(i)])) for i in range(parameter.dimensions)]
        strides = [_LONG(parameter.dtype.itemsize)]
        for size in reversed(shape[1:]):
            strides.insert(0, self._b.mul(strides[0], size))
        data = self._field(thing, Fields.DATA, array.data.type)
        populate_array(array, data, shape, strides, parameter.dtype.itemsize, None)
        return array._getvalue()

    def _call(self, signature: Signature, objects: Sequence[Any], described: Any) -> None:
        b, convention = self._b, self._context.call_conv
        values = [self._value(p, o) for p, o in zip(signature.parameters, objects, strict=True)]
        kind = convention.get_function_type(described.restype, described.argtypes)
        callee = ir.Function(self._module, kind, described.llvm_func_name)
        state = self._outside("PyEval_SaveThread", _OBJECT, [], [])
        status, result = convention.call_function(
            b, callee, described.restype, described.argtypes, values, attrs=("noinline",)
        )
        self._outside("PyEval_RestoreThread", ir.VoidType(), [_OBJECT], [state])
        failed = self._function.append_basic_block("failed")
        self._go_on(b.not_(status.is_error), failed)
        if signature.returns is void:
            nothing = self._bound(_NONE)
            self._outside("Py_IncRef", ir.VoidType(), [_OBJECT], [nothing])
            b.ret(nothing)
        elif signature.returns is boolean:
            wide = b.zext(b.trunc(result, _BIT), _LONG)
            b.ret(self._outside("PyBool_FromLong", _OBJECT, [_LONG], [wide]))
        else:
            b.ret(self._outside("PyLong_FromLongLong", _OBJECT, [_LONG], [result]))
        b.position_at_end(failed)
        self._raise(_RUNTIME_ERROR, "a kernel failed")
