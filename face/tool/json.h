/*
 * json.h - views as JSON values
 */
#ifndef QUARRY_TOOL_JSON_H
#define QUARRY_TOOL_JSON_H

#include "tool.h"

#include <jansson.h>

/** What `quarry show --json WHAT` has under the name of the thing. The caller owns it. */
json_t *json_what(const struct what *what, const struct views *views);

/** Write the object to @out, a line a value, and let it go. */
void json_write(json_t *object, FILE *out);

#endif
