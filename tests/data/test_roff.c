/* test_roff.c - snippets of manual pages and the text they must become. '#' stands for the mark of
 * a heading, '%' for that of a subheading, '@' for that of a tag. */
#include "base/memory.h"
#include "data/clean.h"
#include "data/roff.h"
#include "test.h"

static void page_is(const char *source, const char *wanted) {
    buffer out = {0};
    roff_page page;
    REQUIRE_OK(roff_text(source, strlen(source), &out, &page));
    for (size_t i = 0; i < out.n; i++) {
        char c = out.bytes[i];
        out.bytes[i] = c == MARK_HEADING      ? '#'
                       : c == MARK_SUBHEADING ? '%'
                       : c == MARK_TAG        ? '@'
                                              : c;
    }
    const char *got = out.n > 0 ? out.bytes : "";
    CHECK(strcmp(got, wanted) == 0, "\n--- source\n%s\n--- got\n%s\n--- wanted\n%s", source, got,
          wanted);
    buffer_clear(&out);
}

TEST(man_paragraphs_are_filled) {
    page_is(".TH X 1 today\n.SH NAME\nfrob \\- do\nit\n.SH DESCRIPTION\nOne   "
            "two\nthree.\n.PP\nFour\n five\n",
            "#NAME\nfrob - do it\n\n#DESCRIPTION\nOne two three.\n\nFour\nfive\n");
    page_is(".SH\nPENDING\nText.\n.SS Sub one\nMore.\n", "#PENDING\nText.\n\n%Sub one\nMore.\n");
}

TEST(man_fonts_leave_no_trace) {
    page_is(".B bold\nis\n.BR frob (1),\n.I a b\n.BI -o \" file\" .\n\\fBx\\fP\\f(CWy\\fR "
            "\\s-2z\\s0 \\m[red]q\\m[]\n",
            "bold is frob(1), a b -o file. xy z q\n");
    page_is(".B \"say \"\"hi\"\" now\"\n", "say \"hi\" now\n");
}

TEST(man_tags_stand_before_their_text) {
    page_is(".TP\n.B EACCES\nDenied.\n.TP\n.BR a ,\n.TQ\nbcdef\nBoth.\n.IP \\(bu 2\nitem\n.IP 1. "
            "3\nfirst\n.IP\nsecond\n",
            "@EACCES\nDenied.\n\n@a,\n@bcdef\nBoth.\n\n- item\n\n1. first\n\nsecond\n");
    page_is(".PD 0\n.TP\nlonger\nx\n.TP\nanother\ny\n", "@longer\nx\n@another\ny\n");
}

TEST(unfilled_text_keeps_its_lines) {
    page_is("a\n.nf\nint  x;\n\tint y;\n\n  z\n.fi\nb\nc\n",
            "a\nint  x;\n        int y;\n\n  z\nb c\n");
    page_is(".EX\nfor (;;)\n    f();\n.EE\n", "for (;;)\n    f();\n");
}

TEST(escapes_become_characters) {
    page_is("a\\-b \\(aqc\\(aq \\[em] \\(co \\e \\[u00E9] \\N'233' \\*(lqq\\*(rq "
            "\\[bu]\\~x\\|y\\^z\\&.\n",
            "a-b 'c' — © \\ é é \"q\" • xyz.\n");
    page_is("one\\\"comment\ntwo\\c\nthree \\\ncontinued \\$1\\n(xx\n",
            "one twothree continued 0\n");
    page_is("co\\%operate hy\\:phen \\h'3'w \\w'abc' \\o'ab' \\v'1' e\\(xx\\[nothing]nd\n",
            "cooperate hyphen w end\n");
    page_is("\\[e aa]\\(:a\\(ss\\C'eu'\\[char64]\n", "eäß€@\n");
}

TEST(characters_are_never_cut) {
    page_is("\\(\xE2\x82\xACx y\\\xE2\x82\xACz \\f\xC3\xA9w \\h\xC3\xA9"
            "v\n",
            "y€z w v\n");
}

TEST(conditions_choose_the_terminal) {
    page_is(".if n yes\n.if t no\n.if !t also\n.ie n \\{\\\nterminal\n.br\n.\\}\n.el "
            "\\{\\\nprinter\n.\\}\nend\n",
            "yes also terminal\nend\n");
    page_is(".ie t wrong\n.el right\n.if 'a'b' no\n.if 'a'a' same\n.nr x 4\n.if \\nx>3 big\n.if "
            "\\n(.g groff\n",
            "right same big groff\n");
    page_is(".if t \\{\nhidden\n.if n \\{\nhidden\n.\\}\n.\\}\nshown\n", "shown\n");
}

TEST(macros_and_strings_of_the_page) {
    page_is(".de XX\n.B \\\\$1\n(\\\\$2)\n..\n.XX one \"two 2\"\n.ds S a \\fIb\n\\*S \\*[S]\n.rm "
            "XX\n.XX gone\n",
            "one (two 2) a b a b\n");
    page_is(".de1 Y END\nin\n.END\n.Y\n.ig\nignored\n..\nout\n.ig XX\nignored\n.XX\nend\n",
            "in out end\n");
}

TEST(hostile_macros_are_cut) {
    static const char *const bombs[] = {
        ".de A\n.A\n.A\n.A\n..\n.A\nend\n",
        ".ds B \\*B\\*B\\*B\n\\*B\nend\n",
        ".de A\ntext\n.A\n.A\n..\n.A\nend\n",
    };
    for (size_t i = 0; i < sizeof bombs / sizeof bombs[0]; i++) {
        buffer out = {0};
        roff_page page;
        REQUIRE_OK(roff_text(bombs[i], strlen(bombs[i]), &out, &page));
        CHECK(page.cut, "bomb %zu not noticed", i);
        CHECK(out.n >= 4 && out.n < 1000000, "bomb %zu made %zu bytes", i, out.n);
        buffer_clear(&out);
    }
}

TEST(tables_become_rows) {
    page_is("before\n.TS\nallbox;\nlb lb\nl l.\nName\tValue\n_\nT{\n.BR open "
            "(2),\nclose\nT}\tT{\nyes\nT}\n\\(bu\t\n.TE\nafter\n",
            "before\n\nName | Value\nopen(2), close | yes\n•\n\nafter\n");
    page_is(".TS\ntab(@);\nl c.\na@b\n.T&\nr r.\nc@d\n.TE\n", "a | b\nc | d\n");
}

TEST(links_and_synopses) {
    page_is("See\n.UR http://x.org/\nthe site\n.UE .\nMail\n.MT a@b.c\n.ME ,\nnow\n",
            "See the site <http://x.org/>. Mail <a@b.c>, now\n");
    page_is(".SY frob\n.OP -a x\n.OP -b\nfile\n.YS\n.MR cat 1 .\n",
            "frob [-a x] [-b] file\ncat(1).\n");
}

TEST(pages_that_name_another) {
    buffer out = {0};
    roff_page page;
    static const char alias[] = ".so man3/queue.3\n", both[] = ".so x\ntext\n";
    REQUIRE_OK(roff_text(alias, strlen(alias), &out, &page));
    CHECK(page.alias && out.n == 0, "alias %d, %zu bytes", page.alias, out.n);
    REQUIRE_OK(roff_text(both, strlen(both), &out, &page));
    CHECK(!page.alias && out.n == 5, "alias %d, %zu bytes", page.alias, out.n);
    buffer_clear(&out);
}

TEST(mdoc_lines) {
    page_is(".Dd x\n.Dt LS 1\n.Os\n.Sh NAME\n.Nm ls\n.Nd list files\n.Sh SYNOPSIS\n.Nm\n.Op Fl "
            "la\n.Op Fl o Ar name\n.Ar\n"
            ".Sh DESCRIPTION\nThe\n.Nm\nutility, see\n.Xr cat 1 ,\n.Dq a b .\n.Pf x Ns Ar y\n.Pq "
            "Fl z\n",
            "#NAME\nls - list files\n\n#SYNOPSIS\nls [-la] [-o name] file ...\n\n"
            "#DESCRIPTION\nThe ls utility, see cat(1), \"a b\". xy (-z)\n");
    page_is(".Dd x\n.Sh SYNOPSIS\n.In stdio.h\n.Ft int\n.Fn puts \"const char *s\"\n.Ft void\n.Fo "
            "f\n.Fa \"int a\"\n.Fa b\n.Fc\n",
            "#SYNOPSIS\n#include <stdio.h>\n\nint puts(const char *s);\n\nvoid f(int a, b);\n");
}

TEST(mdoc_lists) {
    page_is(".Dd x\n.Bl -tag -width Ds\n.It Fl a Ar b\nFirst.\n.It Xo\n.Fl "
            "c\n.Xc\nSecond.\n.El\n.Bl -bullet -compact\n.It\none\n.It\ntwo\n.El\n"
            ".Bl -enum\n.It\nx\n.It\ny\n.El\n.Bl -column a b\n.It a Ta b\n.El\n",
            "@-a b\nFirst.\n\n@-c\nSecond.\n\n- one\n- two\n\n1. x\n\n2. y\n\na | b\n");
    page_is(".Dd x\n.Rs\n.%A A. Uthor\n.%T Title\n.Re\n.Ex -std ls\n.Bd -literal\na  "
            "b\n.Ed\n.Bx\n.An Some One\n",
            "A. Uthor, Title.\nThe ls utility exits 0 on success, and >0 if an error occurs.\n\na  "
            "b\nBSD Some One\n");
}

/* Time must not grow faster than the page: doubling a hostile page may not quadruple it. Counted by
 * what is cheap to count: it ends at all, on inputs that once were quadratic. */
TEST(long_lines_are_linear) {
    static const char *const parts[] = {"\"\" ", "\\*(aa", ".if n ", "\\f", "\\h'",
                                        "\\{",   "\\[",    "T{\t",   "\\\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        buffer page = {0}, out = {0};
        roff_page facts;
        buffer_text(&page, ".ds aa x\n.B \"");
        while (page.n < 2000000)
            buffer_text(&page, parts[i]);
        REQUIRE_OK(buffer_check(&page));
        REQUIRE_OK(roff_text(page.bytes, page.n, &out, &facts));
        buffer_clear(&page);
        buffer_clear(&out);
    }
}

TEST(roff_survives_failing_allocations) {
    static const char page[] =
        ".de A\n.B \\\\$1\n..\n.ds S text\n.nr N 1\n.A \\*S\n.TP\ntag long\nx\\\ny\n"
        ".UR u\n.UE\n.Dd x\n.Nm a\n.TS\nl.\na\n.TE\n";
    int64_t blocks = mem_live_blocks();
    for (int64_t n = 1;; n++) {
        buffer out = {0};
        roff_page facts;
        mem_fail_at(n);
        status got = roff_text(page, sizeof page - 1, &out, &facts);
        bool failed = mem_failed();
        mem_fail_at(0);
        buffer_clear(&out);
        CHECK(mem_live_blocks() == blocks, "allocation %" PRId64 " leaks", n);
        CHECK(got == (failed ? STATUS_MEMORY : STATUS_OK), "allocation %" PRId64 ": %d", n,
              (int)got);
        if (!failed) break;
        REQUIRE(n < 1000, "never passes");
    }
}
