# What may be asked of this build. A name or a value that is none of these is refused:
# it would be another build than the one that was asked for.

option(EXACTRNN_WERROR "Treat C warnings as errors" OFF)
set(EXACTRNN_ISAS "" CACHE STRING "Build these instruction sets only (default: all)")
set(EXACTRNN_OPENMP AUTO CACHE STRING "Threads by OpenMP: ON, OFF, or AUTO if there")
option(EXACTRNN_OLD_GLIBC "Ask for the first versions of glibc's thread functions" OFF)
option(EXACTRNN_POSIX "Use nothing of Linux's own, as other systems do" OFF)

set(EXACTRNN_SWITCHES
  EXACTRNN_OLD_GLIBC EXACTRNN_OPENMP EXACTRNN_POSIX EXACTRNN_WERROR)
set(EXACTRNN_OPTIONS EXACTRNN_ISAS ${EXACTRNN_SWITCHES})

if(PROJECT_IS_TOP_LEVEL)
  get_cmake_property(names CACHE_VARIABLES)
  list(FILTER names INCLUDE REGEX "^EXACTRNN_")
  list(REMOVE_ITEM names ${EXACTRNN_OPTIONS})
  if(names)
    list(JOIN EXACTRNN_OPTIONS ", " expected)
    list(JOIN names ", " names)
    message(FATAL_ERROR "exactrnn: expected options of ${expected}, got ${names}")
  endif()
endif()

foreach(name IN LISTS EXACTRNN_SWITCHES)
  set(words "ON|OFF|TRUE|FALSE|YES|NO|1|0")
  if(name STREQUAL "EXACTRNN_OPENMP")
    string(APPEND words "|AUTO")
  endif()
  string(TOUPPER "${${name}}" value)
  if(NOT value MATCHES "^(${words})$")
    string(REPLACE "|" ", " words "${words}")
    message(FATAL_ERROR "exactrnn: ${name}: expected one of ${words}, got ${${name}}")
  endif()
endforeach()

# Called when the table of instruction sets is through.
function(exactrnn_check_isas)
  get_property(known GLOBAL PROPERTY EXACTRNN_KNOWN_ISAS)
  list(JOIN known ", " expected)
  foreach(isa IN LISTS EXACTRNN_ISAS)
    if(NOT isa IN_LIST known)
      message(FATAL_ERROR "exactrnn: EXACTRNN_ISAS: expected some of ${expected}, "
        "with ; between them, got ${isa}")
    endif()
  endforeach()
  if(NOT EXACTRNN_KERNELS)
    message(FATAL_ERROR "exactrnn: EXACTRNN_ISAS: expected an instruction set of "
      "${CMAKE_SYSTEM_PROCESSOR}, got ${EXACTRNN_ISAS}; scalar is one everywhere")
  endif()
endfunction()
