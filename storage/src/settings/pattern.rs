//! Names against patterns: globs for branches, git's rules for hidden references.

/// Whether `name` matches: `*` and `?` stand for anything but a slash, `**` for a slash too.
///
/// Takes at most pattern length times name length steps.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // One row of the table: whether the front of the pattern matches each front of the name.
    let mut row: Vec<bool> = std::iter::once(true).chain(name.iter().map(|_| false)).collect();
    let mut rest = pattern;
    while let Some((&head, tail)) = rest.split_first() {
        let crosses = head == b'*' && tail.first() == Some(&b'*');
        rest = if crosses { tail.get(1..).unwrap_or_default() } else { tail };
        let mut next = vec![head == b'*' && row.first() == Some(&true)];
        for (index, &byte) in name.iter().enumerate() {
            let before = row.get(index) == Some(&true);
            let here = row.get(index + 1) == Some(&true);
            let left = next.last() == Some(&true);
            next.push(match head {
                b'*' => here || (left && (crosses || byte != b'/')),
                b'?' => before && byte != b'/',
                _ => before && byte == head,
            });
        }
        row = next;
    }
    row.last() == Some(&true)
}

/// Whether the list hides `name`. As in git the last pattern that fits decides, and `!` makes
/// visible.
pub(super) fn is_hidden(name: &[u8], list: &[String]) -> bool {
    for pattern in list.iter().rev() {
        let (pattern, hides) = match pattern.strip_prefix('!') {
            Some(pattern) => (pattern, false),
            None => (pattern.as_str(), true),
        };
        // There are no namespaces: the full name, which `^` asks for, is the name.
        let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
        if let Some(rest) = name.strip_prefix(pattern.as_bytes())
            && (rest.is_empty() || rest.starts_with(b"/"))
        {
            return hides;
        }
    }
    false
}
