# How csrc/kernels is compiled: once per instruction set and element type, as object
# libraries with their own flags. The caller lists the instruction sets; this file
# knows what a kernel needs.

set(EXACTRNN_KERNELS "")

# Public headers are included as users include them, all others from csrc.
set(EXACTRNN_INCLUDES csrc csrc/include)

file(STRINGS csrc/kernels/cells.def cell_lines REGEX "^XR_CELL")
set(EXACTRNN_CELL_SOURCES "")
foreach(line IN LISTS cell_lines)
  string(REGEX REPLACE "^XR_CELL\\(([a-z0-9_]+)\\).*" "\\1" cell "${line}")
  list(APPEND EXACTRNN_CELL_SOURCES csrc/kernels/cells/${cell}.c)
endforeach()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS csrc/kernels/cells.def)

# Flags of every C file: no contraction (the bits depend on it), no math-errno so that
# sqrt is one instruction, no exported symbols but the module's own.
set(EXACTRNN_FLAGS -O3 -ffp-contract=off -fno-math-errno
  -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wvla)
if(CMAKE_C_COMPILER_FRONTEND_VARIANT STREQUAL "MSVC" AND
   CMAKE_C_COMPILER_ID STREQUAL "Clang") # clang-cl: its own words behind /clang:
  list(TRANSFORM EXACTRNN_FLAGS PREPEND "/clang:")
  list(APPEND EXACTRNN_FLAGS -D_CRT_SECURE_NO_WARNINGS)
elseif(MSVC)
  message(FATAL_ERROR "exactrnn is built by clang on Windows: install Visual Studio's "
    "component \"C++ Clang tools\" and give CMake -T ClangCL, or CC=clang-cl with Ninja")
endif()

function(exactrnn_c_flags target)
  set_target_properties(${target} PROPERTIES
    C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS ON
    POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden
    INTERPROCEDURAL_OPTIMIZATION OFF)
  target_include_directories(${target} PRIVATE ${EXACTRNN_INCLUDES})
  target_compile_options(${target} PRIVATE ${EXACTRNN_FLAGS})
  if(EXACTRNN_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()

function(exactrnn_isa isa processors)
  set_property(GLOBAL APPEND PROPERTY EXACTRNN_KNOWN_ISAS ${isa})
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(${processors})$")
    return()
  endif()
  if(EXACTRNN_ISAS AND NOT isa IN_LIST EXACTRNN_ISAS)
    return()
  endif()
  exactrnn_try_isa(${isa} ${ARGN})
  foreach(dtype f32 f64)
    set(target kernels_${isa}_${dtype})
    add_library(${target} OBJECT
      csrc/kernels/grid/grid.c csrc/kernels/layer/engine.c
      csrc/kernels/math/activations.c csrc/kernels/math/ctc.c csrc/kernels/math/dense.c
      csrc/kernels/math/machine.c csrc/kernels/math/update.c
      ${EXACTRNN_CELL_SOURCES})
    exactrnn_c_flags(${target})
    target_compile_options(${target} PRIVATE ${ARGN})
    target_compile_definitions(${target} PRIVATE
      XR_ISA=${isa} XR_ISA_${isa} XR_DTYPE=${dtype} XR_DTYPE_${dtype})
    list(APPEND EXACTRNN_KERNELS ${target})
  endforeach()
  set(EXACTRNN_KERNELS ${EXACTRNN_KERNELS} PARENT_SCOPE)
endfunction()
