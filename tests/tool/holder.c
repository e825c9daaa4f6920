/* Holds 10000 objects of 200 bytes and a block of 12 MiB, says so, and waits. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    static void *objects[10000];
    for (int i = 0; i < 10000; i++)
        objects[i] = malloc(200);
    void *large = malloc(12 << 20);
    printf("ready\n");
    fflush(stdout);
    sleep(120);
    return objects[9999] == NULL || large == NULL;
}
