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
if(WIN32)
  set(EXACTRNN_EXPORT "XR_API=__declspec(dllexport)")
endif()
add_library(exactrnn_public OBJECT
  csrc/library/arguments.c csrc/library/checks.c csrc/library/dense.c
  csrc/library/entry.c csrc/library/grids.c csrc/library/json.c csrc/library/layers.c
  csrc/library/model.c csrc/library/network.c csrc/library/run.c
  csrc/library/safetensors.c csrc/library/sha256.c csrc/library/stream.c
  csrc/library/weights.c)
exactrnn_c_flags(exactrnn_public)
target_compile_definitions(exactrnn_public PRIVATE ${EXACTRNN_EXPORT})
target_compile_definitions(exactrnn_base PRIVATE ${EXACTRNN_EXPORT})

set(EXACTRNN_OBJECTS
  $<TARGET_OBJECTS:exactrnn_base> $<TARGET_OBJECTS:exactrnn_public>)
foreach(kernels IN LISTS EXACTRNN_KERNELS)
  list(APPEND EXACTRNN_OBJECTS $<TARGET_OBJECTS:${kernels}>)
endforeach()
add_library(shared SHARED ${EXACTRNN_OBJECTS})

set(EXACTRNN_LIBRARIES shared)
if(NOT WIN32) # whose linker joins no objects; there is the shared library alone
  # The archive has one member: dispatch.c names the kernels weakly, and for a weak name
  # a linker takes nothing out of an archive. It is made anew whenever `shared` is, whose
  # objects it has: Makefiles know no rule for objects of other targets.
  set(whole ${CMAKE_CURRENT_BINARY_DIR}/exactrnn_whole.o)
  add_custom_command(OUTPUT ${whole} VERBATIM COMMAND_EXPAND_LISTS
    COMMAND ${CMAKE_LINKER} -r -o ${whole} ${EXACTRNN_OBJECTS}
    DEPENDS shared)
  set_source_files_properties(${whole} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  add_library(static STATIC ${whole})
  list(APPEND EXACTRNN_LIBRARIES static)
endif()

foreach(name IN LISTS EXACTRNN_LIBRARIES)
  set_target_properties(${name} PROPERTIES OUTPUT_NAME exactrnn LINKER_LANGUAGE C)
  target_link_libraries(${name} PRIVATE ${EXACTRNN_THREADS} ${EXACTRNN_FENV})
  target_include_directories(${name} INTERFACE
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
# The version of the binary interface: tests/c/test_abi.py says what raises it.
set(EXACTRNN_ABI 0)
set_target_properties(shared PROPERTIES
  EXPORT_NAME exactrnn VERSION ${PROJECT_VERSION} SOVERSION ${EXACTRNN_ABI})

# Who links the static library has to find its threads, others not: so the package has
# the two in files of their own.
install(TARGETS shared EXPORT exactrnn)
if(TARGET static)
  install(TARGETS static EXPORT exactrnn_static)
endif()
exactrnn_install_headers(${CMAKE_INSTALL_INCLUDEDIR})

set(EXACTRNN_PACKAGE ${CMAKE_INSTALL_LIBDIR}/cmake/exactrnn)
install(EXPORT exactrnn NAMESPACE exactrnn:: DESTINATION ${EXACTRNN_PACKAGE}
  FILE exactrnnTargets.cmake)
if(TARGET static)
  install(EXPORT exactrnn_static NAMESPACE exactrnn:: DESTINATION ${EXACTRNN_PACKAGE}
    FILE exactrnnStatic.cmake)
endif()
if(uses_openmp)
  set(EXACTRNN_NEEDS OpenMP)
  set(EXACTRNN_PARTS "COMPONENTS C")
  set(EXACTRNN_LINK_THREADS "${OpenMP_C_FLAGS} -pthread")
else()
  set(EXACTRNN_NEEDS Threads)
  set(EXACTRNN_LINK_THREADS -pthread)
endif()
configure_package_config_file(cmake/exactrnnConfig.cmake.in exactrnnConfig.cmake
  INSTALL_DESTINATION ${EXACTRNN_PACKAGE})
write_basic_package_version_file(exactrnnConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/exactrnnConfig.cmake
  ${PROJECT_BINARY_DIR}/exactrnnConfigVersion.cmake DESTINATION ${EXACTRNN_PACKAGE})
# The prefix is where the pkg-config file is found: `cmake --install --prefix` may choose
# another one than this.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(EXACTRNN_PREFIX ${CMAKE_INSTALL_PREFIX})
  set(EXACTRNN_LIBDIR ${CMAKE_INSTALL_LIBDIR})
else()
  file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  set(EXACTRNN_PREFIX "\${pcfiledir}/${up}")
  set(EXACTRNN_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
configure_file(cmake/exactrnn.pc.in exactrnn.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/exactrnn.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
