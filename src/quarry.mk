# The core alone, for kernels, hypervisors and firmware: one archive that needs nothing but
# qy_port_* (docs/PORTING.md), memcpy, memmove, memset and memcmp.
#
#   make -f src/quarry.mk PORT=FOLDER_OF_QUARRY_PORT_H OUT=build/kernel [CC=...] [CFLAGS=...]
#
# A kernel's own Makefile may include it instead, with PORT and OUT set, and depend on
# $(OUT)/libquarry-core.a.

QUARRY := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))..)
PORT ?= $(QUARRY)/port/null
OUT ?= $(QUARRY)/build/kernel
CFLAGS ?= -O2 -g

quarry_cflags := -std=c11 -ffreestanding -nostdinc -fno-pie -fno-common -Wall -Wextra -Wundef -Wshadow \
    -Wmissing-prototypes -isystem $(shell $(CC) -print-file-name=include) \
    -I$(QUARRY)/include -I$(QUARRY)/src -I$(PORT)
quarry_sources := $(shell sed 's/\#.*//' $(QUARRY)/src/sources.list)
quarry_objects := $(quarry_sources:%.c=$(OUT)/%.o)

$(OUT)/libquarry-core.a: $(quarry_objects)
	rm -f $@
	$(AR) rcs $@ $^

$(quarry_objects): $(OUT)/%.o: $(QUARRY)/src/%.c $(QUARRY)/src/quarry.mk
	@mkdir -p $(@D)
	$(CC) $(quarry_cflags) $(CFLAGS) -MMD -c -o $@ $<

-include $(quarry_objects:.o=.d)
