/*
 * text.h - writing text into a buffer without a C library
 *
 * A text that does not fit is cut; length goes on counting, so the caller can tell. The
 * buffer always ends in a NUL.
 */
#ifndef QY_BASE_TEXT_H
#define QY_BASE_TEXT_H

#include <quarry/view.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void qy_text_init(struct qy_text *text, char *buffer, size_t bytes);
void qy_text_char(struct qy_text *text, char c);
void qy_text_string(struct qy_text *text, const char *string);
void qy_text_u64(struct qy_text *text, uint64_t value);
/** With 0x in front, at least @digits digits. */
void qy_text_hex(struct qy_text *text, uint64_t value, unsigned digits);
/** In a column of @width, flush right or left; what is wider goes over the edge uncut. */
void qy_text_u64_right(struct qy_text *text, uint64_t value, unsigned width);
void qy_text_string_right(struct qy_text *text, const char *string, unsigned width);
void qy_text_string_left(struct qy_text *text, const char *string, unsigned width);
/** What the buffer holds goes to whoever reads reports, as one piece. */
void qy_text_report(const struct qy_text *text);
/** Whether two strings are the same. */
bool qy_text_equal(const char *one, const char *other);

#endif
