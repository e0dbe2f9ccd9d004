# The C library by itself: no Python, no Cython.
#
#     cmake -S . -B build && cmake --build build && cmake --install build
#
# installs libexactrnn (shared and static), the headers, a CMake package, of which
# find_package(exactrnn) makes exactrnn::exactrnn and exactrnn::static, and a pkg-config
# file. The shared library exports what the headers mark XR_API and nothing else.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

# What is marked is visible; what is not is not, as exactrnn_c_flags has it.
set(EXACTRNN_EXPORT "XR_API=__attribute__((visibility(\"default\")))")
add_library(exactrnn_public OBJECT
  csrc/library/arguments.c csrc/library/checks.c csrc/library/dense.c
  csrc/library/entry.c csrc/library/grids.c csrc/library/json.c csrc/library/layers.c
  csrc/library/model.c csrc/library/network.c csrc/library/run.c
  csrc/library/safetensors.c csrc/library/sha256.c csrc/library/stream.c
  csrc/library/weights.c)
exactrnn_c_flags(exactrnn_public)
target_compile_definitions(exactrnn_public PRIVATE ${EXACTRNN_EXPORT})
target_compile_definitions(exactrnn_base PRIVATE ${EXACTRNN_EXPORT})

# The version of the ABI: tests/c/test_abi.py says what raises it.
set(EXACTRNN_ABI 0)
foreach(kind SHARED STATIC)
  string(TOLOWER ${kind} name)
  add_library(${name} ${kind} $<TARGET_OBJECTS:exactrnn_base>
    $<TARGET_OBJECTS:exactrnn_public>)
  foreach(kernels IN LISTS EXACTRNN_KERNELS)
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:${kernels}>)
  endforeach()
  set_target_properties(${name} PROPERTIES OUTPUT_NAME exactrnn)
  target_link_libraries(${name} PRIVATE ${EXACTRNN_THREADS} ${EXACTRNN_FENV})
  target_include_directories(${name} INTERFACE
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
set_target_properties(shared PROPERTIES
  EXPORT_NAME exactrnn VERSION ${PROJECT_VERSION} SOVERSION ${EXACTRNN_ABI})

install(TARGETS shared static EXPORT exactrnn)
exactrnn_install_headers(${CMAKE_INSTALL_INCLUDEDIR})

set(EXACTRNN_PACKAGE ${CMAKE_INSTALL_LIBDIR}/cmake/exactrnn)
install(EXPORT exactrnn NAMESPACE exactrnn:: DESTINATION ${EXACTRNN_PACKAGE}
  FILE exactrnnTargets.cmake)
if(uses_openmp)
  set(EXACTRNN_FIND_THREADS "find_dependency(OpenMP COMPONENTS C)")
  set(EXACTRNN_LINK_THREADS "${OpenMP_C_FLAGS} -pthread")
else()
  set(EXACTRNN_FIND_THREADS "find_dependency(Threads)")
  set(EXACTRNN_LINK_THREADS -pthread)
endif()
configure_package_config_file(cmake/exactrnnConfig.cmake.in exactrnnConfig.cmake
  INSTALL_DESTINATION ${EXACTRNN_PACKAGE})
write_basic_package_version_file(exactrnnConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/exactrnnConfig.cmake
  ${PROJECT_BINARY_DIR}/exactrnnConfigVersion.cmake DESTINATION ${EXACTRNN_PACKAGE})
configure_file(cmake/exactrnn.pc.in exactrnn.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/exactrnn.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
