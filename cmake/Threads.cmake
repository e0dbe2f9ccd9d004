# Where threads come from: OpenMP, or the system's own (csrc/base/region.h); and what else
# is a system's own (csrc/base/system.h).

if(WIN32)
  set(EXACTRNN_SYSTEM csrc/base/system_windows.c)
elseif(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND NOT EXACTRNN_POSIX)
  set(EXACTRNN_SYSTEM csrc/base/system_linux.c csrc/base/threads_posix.c)
else()
  set(EXACTRNN_SYSTEM csrc/base/system_posix.c csrc/base/threads_posix.c)
endif()
if(APPLE) # names of kernels that were not built are weak, and found at load time or not
  add_link_options(-Wl,-undefined,dynamic_lookup)
endif()

if(WIN32 AND EXACTRNN_OPENMP STREQUAL "AUTO") # vcomp.dll is no part of the system
  set(uses_openmp OFF)
elseif(EXACTRNN_OPENMP STREQUAL "AUTO")
  find_package(OpenMP COMPONENTS C)
  set(uses_openmp ${OpenMP_C_FOUND})
elseif(EXACTRNN_OPENMP)
  find_package(OpenMP COMPONENTS C)
  if(NOT OpenMP_C_FOUND)
    message(FATAL_ERROR "exactrnn: EXACTRNN_OPENMP: ON was asked for, and "
      "${CMAKE_C_COMPILER} has no OpenMP: AUTO takes threads of the system's own then")
  endif()
  set(uses_openmp ON)
else()
  set(uses_openmp OFF)
endif()

if(uses_openmp)
  set(EXACTRNN_REGION csrc/base/region_openmp.c)
  set(EXACTRNN_THREADS OpenMP::OpenMP_C)
else()
  set(THREADS_PREFER_PTHREAD_FLAG ON)
  find_package(Threads REQUIRED)
  message(STATUS "exactrnn: threads of its own, without OpenMP")
  set(EXACTRNN_REGION csrc/base/region_threads.c)
  set(EXACTRNN_THREADS Threads::Threads)
  if(WIN32)
    list(APPEND EXACTRNN_THREADS synchronization) # WaitOnAddress
  endif()
endif()
