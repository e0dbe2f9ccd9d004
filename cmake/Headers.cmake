# The public headers of the C library, which the wheel has too.
set(EXACTRNN_HEADERS
  csrc/include/exactrnn.h csrc/include/exactrnn/ctc.h csrc/include/exactrnn/dense.h
  csrc/include/exactrnn/grid.h csrc/include/exactrnn/model.h
  csrc/include/exactrnn/update.h)

function(exactrnn_install_headers place)
  foreach(header IN LISTS EXACTRNN_HEADERS)
    cmake_path(RELATIVE_PATH header BASE_DIRECTORY csrc/include OUTPUT_VARIABLE name)
    cmake_path(GET name PARENT_PATH folder)
    install(FILES ${header} DESTINATION ${place}/${folder})
  endforeach()
endfunction()
