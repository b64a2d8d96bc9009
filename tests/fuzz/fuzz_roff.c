/* fuzz_roff.c - any bytes as a manual page.
 *
 * The raw bytes must not harm roff_text; the way a corpus takes (repair, extraction, normal form,
 * last shape) must end in well-formed text without control characters. */
#include "fuzz.h"

#include "base/utf8.h"
#include "data/clean.h"
#include "data/roff.h"

#include <stdlib.h>

const char *const fuzz_seeds[] = {
    ".\\\" comment\n.TH OPEN 2\n.SH NAME\nopen \\- open a file\n.SH SYNOPSIS\n.nf\n.B #include "
    "<fcntl.h>\n"
    ".PP\n.BI \"int open(const char *\" path \", int \" flags );\n.fi\n.SH ERRORS\n.TP\n.B EACCES\n"
    "No \\fBway\\fP.\n.IP \\(bu 3\nA \\[em] b\\s-2c\\s+2 \\*(lqq\\*(rq\n.UR http://x\nt\n.UE .\n",
    ".TS\nallbox tab(@);\nl c.\na@b\n_\nT{\n.B c\nT}@d\n.T&\nr.\ne\n.TE\n",
    ".de XX\n.B \\\\$1 \"\\\\$2\"\n..\n.XX a \"b c\"\n.ds S \\fIs\\fP\n.nr N 3\n.ie \\nN>2 "
    "\\{\\\nyes \\*S\n.\\}\n.el no\n"
    ".if n .if !t both\n.if 'a'a' same\n.ig\nhidden\n..\n",
    ".de A\n.A\n.A\n..\n.A\n.ds B \\*B\\*B\n\\*B\n.while 1 .A\n",
    ".Dd today\n.Dt X 1\n.Os\n.Sh NAME\n.Nm x\n.Nd does\n.Sh SYNOPSIS\n.Nm\n.Op Fl v Ar file\n.In "
    "a.h\n.Ft int\n"
    ".Fo f\n.Fa \"int a\"\n.Fc\n.Sh D\n.Bl -tag -width x\n.It Fl a Ns Ar b\ntext\n.It Xo\n.Fl "
    "c\n.Xc\n.El\n"
    ".Bl -enum\n.It\none\n.El\n.Rs\n.%A who\n.%T what\n.Re\n.Bd -literal\n a  b\n.Ed\n.Xr y 2 , "
    "z\n.Ex -std\n",
    ".so man2/open.2\n",
    "\\N'233'\\[u00E9]\\(:a\\h'3'\\w'x'\\o'ab'\\Z'z'\\z\xC3\xA9\\(\xE2\x82\xAC\\n(ab\\$"
    "1\\\nnext\\c\nline\n",
    NULL,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int64_t blocks = mem_live_blocks();
    buffer raw = {0}, clean = {0}, text = {0}, settled = {0};
    roff_page page;
    repair what;
    if (roff_text((const char *)data, size, &raw, &page) != STATUS_OK) abort();
    if (text_repair((const char *)data, size, &clean, &what) != STATUS_OK) abort();
    if (roff_text(clean.n > 0 ? clean.bytes : "", clean.n, &text, &page) != STATUS_OK) abort();
    if (utf8_valid(text.bytes, text.n) != text.n) abort();
    if (text_normalize(&text) != STATUS_OK) abort();
    text_settle(text.n > 0 ? text.bytes : "", text.n, &settled);
    if (settled.failed || utf8_valid(settled.bytes, settled.n) != settled.n) abort();
    for (size_t i = 0; i < settled.n; i++)
        if ((uint8_t)settled.bytes[i] < 0x20 && settled.bytes[i] != '\n') abort();
    buffer_clear(&raw);
    buffer_clear(&clean);
    buffer_clear(&text);
    buffer_clear(&settled);
    if (mem_live_blocks() != blocks) abort();
    return 0;
}
