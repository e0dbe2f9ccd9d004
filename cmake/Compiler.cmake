# What is said where there is no C compiler, and where it is not one for these sources:
# a sentence with its cure, in place of CMake's account or of errors in the build.

set(EXACTRNN_GET_COMPILER "install gcc (`apt-get install gcc libc6-dev` on Debian and "
  "Ubuntu, `dnf install gcc` on Fedora, `apk add gcc musl-dev` on Alpine, "
  "`xcode-select --install` on macOS), or name another compiler: CC=clang")
string(CONCAT EXACTRNN_GET_COMPILER ${EXACTRNN_GET_COMPILER})

# Before project(). Windows and Xcode find compilers in ways of their own.
function(exactrnn_look_for_compiler)
  if(CMAKE_C_COMPILER OR CMAKE_TOOLCHAIN_FILE OR DEFINED ENV{CMAKE_TOOLCHAIN_FILE} OR
     CMAKE_HOST_WIN32 OR CMAKE_GENERATOR STREQUAL "Xcode")
    return()
  endif()
  separate_arguments(words NATIVE_COMMAND "$ENV{CC}")
  if(words) # scikit-build-core sets CC to what has built Python, unless it is set
    list(GET words 0 names)
    set(lack "${names}, the compiler that CC or Python names, is not here")
  else()
    set(names cc gcc clang)
    set(lack "none of cc, gcc and clang is here")
  endif()
  find_program(found NAMES ${names} NO_CACHE)
  if(NOT found)
    message(FATAL_ERROR "exactrnn needs a C compiler, and ${lack}: "
      "${EXACTRNN_GET_COMPILER}")
  endif()
endfunction()

# After project(): `what` is to be compiled with the flags of every C file and others.
function(exactrnn_try_compiler name what source cure)
  if(MSVC OR CMAKE_C_COMPILER_FRONTEND_VARIANT STREQUAL "MSVC")
    return() # their flags are others, and Kernels.cmake has looked
  endif()
  include(CheckCSourceCompiles)
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY) # nothing is linked
  list(JOIN ARGN " " flags)
  set(CMAKE_REQUIRED_FLAGS "-w -std=gnu11 -ffp-contract=off -fno-math-errno ${flags}")
  check_c_source_compiles("${source}" exactrnn_compiles_${name})
  if(NOT exactrnn_compiles_${name})
    unset(exactrnn_compiles_${name} CACHE) # another compiler may come
    message(FATAL_ERROR "exactrnn: ${CMAKE_C_COMPILER} (${CMAKE_C_COMPILER_ID} "
      "${CMAKE_C_COMPILER_VERSION}) does not compile ${what}: ${cure}")
  endif()
endfunction()

function(exactrnn_try_language)
  exactrnn_try_compiler(c11 "C11 with atomics and threads' own variables" "
    #include <stdatomic.h>
    #include <stddef.h>
    _Static_assert(sizeof(double) == 8, \"a double of 64 bits\");
    static _Thread_local int own;
    static atomic_size_t all;
    int count(void) { own++; return (int)atomic_fetch_add(&all, (size_t)own); }
    double join(double a, double b, double c) { return __builtin_fma(a, b, c); }"
    "take a newer one, or name another: CC=clang")
endfunction()

function(exactrnn_try_isa isa)
  if(ARGN)
    list(JOIN ARGN " " flags)
    exactrnn_try_compiler(${isa} "for ${isa} (${flags})" "
      #include <immintrin.h>
      int nothing(void) { return 0; }"
      "take a newer one, or leave ${isa} out, as -DEXACTRNN_ISAS=scalar does" ${ARGN})
  endif()
endfunction()
