"""How many pages of a process's private memory have been touched."""
import sys

pages = 0
with open(f"/proc/{sys.argv[1]}/pagemap", "rb") as pagemap, open(f"/proc/{sys.argv[1]}/maps", encoding="utf-8") as maps:
    for mapping in maps:
        span, protection, *_, last = mapping.split()
        if protection == "rw-p" and last == "0":
            start, end = (int(address, 16) // 4096 for address in span.split("-"))
            pagemap.seek(start * 8)
            pages += sum(entry & 0xC0 != 0 for entry in pagemap.read((end - start) * 8)[7::8])
print(pages)
