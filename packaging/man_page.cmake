# Writes the man page: cmake -DSAGAZ=EXECUTABLE -DIN=... -DOUT=... -DPROJECT_...=... -P. The commands
# are the executable's own words, verbatim between .nf and .fi.
execute_process(COMMAND ${SAGAZ} --help-all OUTPUT_VARIABLE COMMANDS COMMAND_ERROR_IS_FATAL ANY)
string(FIND "${COMMANDS}" "\nOptions:" begin)
if(begin EQUAL -1)
  message(FATAL_ERROR "sagaz --help-all has no line \"Options:\" any more: see ${IN}")
endif()
math(EXPR begin "${begin} + 1")
string(SUBSTRING "${COMMANDS}" ${begin} -1 COMMANDS)
string(STRIP "${COMMANDS}" COMMANDS)
# roff's own characters; a line that begins with a dot or a quote would be one of its requests.
string(REPLACE "\\" "\\e" COMMANDS "${COMMANDS}")
string(REPLACE "-" "\\-" COMMANDS "${COMMANDS}")
string(REGEX REPLACE "(^|\n)([.'])" "\\1\\\\&\\2" COMMANDS "${COMMANDS}")
configure_file(${IN} ${OUT} @ONLY)
