#include "userbench_problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void userbench_problem(const char *format, ...)
{
    va_list arguments;

    (void)fputs("userbench: ", stderr);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    exit(EXIT_FAILURE);
}
