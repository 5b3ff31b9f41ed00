# The conformance suites of the two store ports, sagaz_testing's part; included from CMakeLists.txt.
target_sources(sagaz_testing PRIVATE ${CMAKE_CURRENT_LIST_DIR}/held_conformance.cpp
                                     ${CMAKE_CURRENT_LIST_DIR}/parked_conformance.cpp
                                     ${CMAKE_CURRENT_LIST_DIR}/publisher_store_conformance.cpp
                                     ${CMAKE_CURRENT_LIST_DIR}/store_conformance.cpp
                                     ${CMAKE_CURRENT_LIST_DIR}/store_reader.cpp)
if(BUILD_SHARED_LIBS)
  # What StoreReader uses of core, and libsagaz.so hides.
  target_sources(sagaz_testing PRIVATE ${PROJECT_SOURCE_DIR}/src/core/window.cpp)
endif()
