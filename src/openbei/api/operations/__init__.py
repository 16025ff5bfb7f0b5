"""Operations that all dialects share: embed, compare, rank, classify. No wire format."""
