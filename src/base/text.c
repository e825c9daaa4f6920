/*
 * text.c - text.h's few functions
 *
 * WHAT    Whatever is written ends in qy_text_char(), the one place that fills the buffer.
 *
 * RULES   none: the caller owns the buffer.
 *
 * LOCKS   none. Nothing here sleeps or allocates, so reports can be written anywhere.
 *
 * COST    A comparison a character.
 */
#include "base/text.h"

#include "base/port.h"

void qy_text_init(struct qy_text *text, char *buffer, size_t bytes)
{
    text->buffer = buffer;
    text->bytes = bytes;
    text->length = 0;
    if (bytes > 0)
        buffer[0] = '\0';
}

void qy_text_char(struct qy_text *text, char c)
{
    if (text->length + 1 < text->bytes) {
        text->buffer[text->length] = c;
        text->buffer[text->length + 1] = '\0';
    }
    text->length++;
}

void qy_text_string(struct qy_text *text, const char *string)
{
    while (*string != '\0')
        qy_text_char(text, *string++);
}

static void number(struct qy_text *text, uint64_t value, unsigned base, unsigned digits)
{
    char reversed[24];
    unsigned count = 0;
    for (; value != 0 || count < digits; value /= base)
        reversed[count++] = "0123456789abcdef"[value % base];
    while (count > 0)
        qy_text_char(text, reversed[--count]);
}

void qy_text_u64(struct qy_text *text, uint64_t value)
{
    number(text, value, 10, 1);
}

void qy_text_hex(struct qy_text *text, uint64_t value, unsigned digits)
{
    qy_text_string(text, "0x");
    number(text, value, 16, digits);
}

static void blanks(struct qy_text *text, size_t taken, unsigned width)
{
    for (; taken < width; taken++)
        qy_text_char(text, ' ');
}

static size_t string_length(const char *string)
{
    size_t length = 0;
    while (string[length] != '\0')
        length++;
    return length;
}

void qy_text_u64_right(struct qy_text *text, uint64_t value, unsigned width)
{
    size_t digits = 1;
    for (uint64_t rest = value / 10; rest != 0; rest /= 10)
        digits++;
    blanks(text, digits, width);
    qy_text_u64(text, value);
}

void qy_text_string_right(struct qy_text *text, const char *string, unsigned width)
{
    blanks(text, string_length(string), width);
    qy_text_string(text, string);
}

void qy_text_string_left(struct qy_text *text, const char *string, unsigned width)
{
    qy_text_string(text, string);
    blanks(text, string_length(string), width);
}

void qy_text_report(const struct qy_text *text)
{
    qy_port_write(text->buffer, text->length < text->bytes ? text->length : text->bytes - 1);
}

bool qy_text_equal(const char *one, const char *other)
{
    while (*one != '\0' && *one == *other) {
        one++;
        other++;
    }
    return *one == *other;
}
