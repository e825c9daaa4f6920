/* Takes some memory and ends without running any destructor. */
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    _exit(malloc(100) == NULL ? 1 : 7);
}
