/*
 * json.h - views as JSON values
 */
#ifndef QUARRY_TOOL_JSON_H
#define QUARRY_TOOL_JSON_H

#include "tool.h"

#include <jansson.h>

/** What `quarry show --json WHAT` has under the name of the thing. The caller owns it. */
json_t *json_what(const struct what *what, const struct views *views);

/** A string, whatever its bytes: what is no UTF-8, which JSON must be, becomes U+FFFD. */
json_t *json_text(const char *text);

/** Write the object to @out, a line a value, and let it go. */
void json_write(json_t *object, FILE *out);

#endif
