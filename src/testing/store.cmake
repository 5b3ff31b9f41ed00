#The Store conformance suite 's part of sagaz_testing; included from this folder' s CMakeLists.txt.
target_sources(sagaz_testing PRIVATE ${CMAKE_CURRENT_LIST_DIR} /
               store_conformance.cpp ${CMAKE_CURRENT_LIST_DIR} / store_reader.cpp)
