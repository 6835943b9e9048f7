# SPDX-License-Identifier: Apache-2.0
# Writes files as C arrays, the table html_pieces[] of src/report/render_html.h:
#   cmake -DOUT=FILE.c "-DPIECES=A;B" -P embed.cmake      without pieces: an empty table
set(arrays "")
set(table "")
set(number 0)
foreach(piece IN LISTS PIECES)
  get_filename_component(name ${piece} NAME)
  file(READ ${piece} content HEX)
  string(LENGTH "${content}" digits)
  math(EXPR bytes "${digits} / 2")
  string(REGEX REPLACE "(................................)" "\\1\n" content "${content}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," content "${content}")
  string(APPEND arrays "static const unsigned char piece_${number}[] = {\n${content}};\n")
  string(APPEND table "    {\"${name}\", piece_${number}, ${bytes}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE ${OUT} "// Made by cmake/embed.cmake.\n#include \"render_html.h\"\n\n${arrays}
const struct html_piece html_pieces[] = {\n${table}    {0, 0, 0},\n};\n")
