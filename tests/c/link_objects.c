// Links BPF objects to one, as `bpftool gen object` does, with whatever libbpf it is built with.
//
// cc -I$LIBBPF/include -o link_objects link_objects.c $LIBBPF/lib/libbpf.a -lelf -lz; link_objects OUT IN...
#include <bpf/libbpf.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: link_objects OUT IN...\n");
        return 2;
    }
    struct bpf_linker *linker = bpf_linker__new(argv[1], NULL);
    if (!linker) {
        fprintf(stderr, "cannot write %s\n", argv[1]);
        return 1;
    }
    for (int i = 2; i < argc; i++) {
        if (bpf_linker__add_file(linker, argv[i], NULL)) {
            fprintf(stderr, "cannot link %s\n", argv[i]);
            return 1;
        }
    }
    if (bpf_linker__finalize(linker)) {
        fprintf(stderr, "cannot finish %s\n", argv[1]);
        return 1;
    }
    bpf_linker__free(linker);
    return 0;
}
