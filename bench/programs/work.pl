# Perl at work: words split, counted in a hash of arrays, substituted, sorted and joined. Prints a sum.
use strict;
use warnings;

my ($state, $sum) = (42, 0);
sub below { $state = ($state * 1103515245 + 12345) % 2147483648; return int($state / 65536) % $_[0] }
for my $turn (1 .. $ARGV[0]) {
    my $text = join ' ', map { 'w' . below(3000) . 'x' x below(30) } 1 .. 40000;
    my %places;
    my $at = 0;
    push @{ $places{$_} }, $at++ for split / /, $text;
    (my $changed = $text) =~ s/w(\d+)x/<$1>/g;
    my @rows = map { sprintf '%s:%d:%s', $_, scalar @{ $places{$_} }, join ',', @{ $places{$_} } } sort keys %places;
    $sum = ($sum * 31 + length($changed) + length join "\n", @rows) % 1000000007;
}
print "$sum\n";
